"""conan.py RECIPE WORK: takes a Conan recipe through its steps, with stand-ins for the modules of Conan that it imports.

The package ends in WORK/package. What the recipe says of itself is checked here."""

import collections
import fnmatch
import os
import shutil
import sys
import types

recipe_folder, work = sys.argv[1:]


def copy(_, pattern, src, dst):
    for folder, _, files in os.walk(src):
        for file in files:
            path = os.path.join(folder, file)
            relative = os.path.relpath(path, src)
            if fnmatch.fnmatch(relative, pattern):
                os.makedirs(os.path.dirname(os.path.join(dst, relative)), exist_ok=True)
                shutil.copy(path, os.path.join(dst, relative))


class Component:
    def __init__(self):
        self.properties = {}

    def set_property(self, name, value):
        self.properties[name] = value


class Info(Component):
    def __init__(self):
        super().__init__()
        self.components = collections.defaultdict(Component)


class ConanFile:
    def __init__(self):
        self.recipe_folder = recipe_folder
        self.export_sources_folder = self.source_folder = os.path.join(work, "export")
        self.package_folder = os.path.join(work, "package")
        self.required = []
        self.cpp_info = Info()

    def requires(self, reference, **_):
        self.required.append(reference)


least_standard = []
modules = {
    "conan": {"ConanFile": ConanFile},
    "conan.tools": {},
    "conan.tools.build": {"check_min_cppstd": lambda _, standard: least_standard.append(standard), "can_run": None},
    "conan.tools.cmake": {"CMake": None, "cmake_layout": None},
    "conan.tools.files": {"copy": copy},
    "conan.tools.layout": {"basic_layout": lambda _: None},
}
for name, members in modules.items():
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(members)


def load(folder):
    path = os.path.join(folder, "conanfile.py")
    members = {}
    with open(path, encoding="utf-8") as file:
        exec(compile(file.read(), path, "exec"), members)
    return next(m for m in members.values() if isinstance(m, type) and issubclass(m, ConanFile) and m is not ConanFile)


def expect(what, expected, found):
    if expected != found:
        sys.exit(f"{what}: expected {expected}, found {found}")


load(os.path.join(recipe_folder, "test_package"))
for io in False, True:
    recipe = load(recipe_folder)()
    recipe.options = types.SimpleNamespace(io=io)
    recipe.settings = types.SimpleNamespace(os="Linux")
    recipe.set_version()
    recipe.export_sources()
    recipe.layout()
    recipe.requirements()
    recipe.validate()
    recipe.package()
    recipe.package_info()

    libraries = ["eigen"] + ["nlohmann_json"] * io
    expect("required libraries", libraries, [reference.split("/")[0] for reference in recipe.required])
    expect("least standard", 20, least_standard[-1])
    components = recipe.cpp_info.components
    targets = ["heed::heed", "heed::threads"] + ["heed::io"] * io
    expect("targets", targets, [c.properties["cmake_target_name"] for c in components.values()])
    for component in components.values():
        for needed in component.requires:
            known = needed in components or needed.split("::")[0] in libraries
            expect(f"{needed} is a component or a required library", True, known)
with open(os.path.join(work, "version"), "w", encoding="utf-8") as file:
    file.write(recipe.version)
