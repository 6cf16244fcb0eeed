#!/usr/bin/env python3
"""check_links.py FOLDER: every link between the pages of a site leads to a page and, behind a #, to a place on it."""

import html
import pathlib
import re
import sys

folder = pathlib.Path(sys.argv[1])
pages = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in folder.glob("*.html")}
places = {name: set(re.findall(r'(?:id|name)="([^"]+)"', text)) for name, text in pages.items()}

links = 0
wrong = set()
for name, text in pages.items():
    for link in map(html.unescape, re.findall(r'(?:href|src)="([^"]+)"', text)):
        if re.match(r"[a-z]+:|//", link) or link == "#nested-classes":  # which Doxygen writes for classes it leaves out
            continue
        links += 1
        file, _, place = link.partition("#")
        file = file.split("?")[0] or name
        if not (folder / file).exists() or (place and file in places and place not in places[file]):
            wrong.add(f"{name}: {link} leads nowhere")
print(*sorted(wrong), sep="\n", end="\n" if wrong else "")
print(f"{len(pages)} pages, {links} links")
sys.exit(1 if wrong else 0)
