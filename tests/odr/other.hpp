// What the other translation units of the program say of the library they were compiled with.
#pragma once

int version_seen_by_other();
int version_seen_behind_macros();
