"""Packages the tree that it lies in:  conan create packaging/conan [-o "heed/*:io=True"]"""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy
from conan.tools.layout import basic_layout

required_conan_version = ">=2.0"


class HeedConan(ConanFile):
    name = "heed"
    description = "Attention variants on Eigen, mixed per layer and per head"
    license = "MIT"
    topics = ("attention", "transformer", "eigen", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"io": [True, False]}
    default_options = {"io": False}
    no_copy_source = True

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        with open(os.path.join(self._root, "include", "heed", "version.hpp"), encoding="utf-8") as header:
            found = dict(re.findall(r"HEED_VERSION_(MAJOR|MINOR|PATCH) (\d+)", header.read()))
        self.version = "{MAJOR}.{MINOR}.{PATCH}".format(**found)

    def export_sources(self):
        copy(self, "*.hpp", src=os.path.join(self._root, "include"), dst=os.path.join(self.export_sources_folder, "include"))
        copy(self, "LICENSE", src=self._root, dst=self.export_sources_folder)

    def layout(self):
        basic_layout(self)

    def requirements(self):
        self.requires("eigen/[>=3.4.0 <6]", transitive_headers=True)
        if self.options.io:
            self.requires("nlohmann_json/[>=3.11 <4]", transitive_headers=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        self.info.clear()

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))
        copy(self, "*.hpp", src=os.path.join(self.source_folder, "include"), dst=os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "heed")
        self.cpp_info.set_property("pkg_config_name", "heed")
        requires = {"heed": ["eigen::eigen"], "threads": ["heed"]}
        if self.options.io:
            requires["io"] = ["heed", "nlohmann_json::nlohmann_json"]
        for name, needed in requires.items():
            component = self.cpp_info.components[name]
            component.set_property("cmake_target_name", f"heed::{name}")
            component.requires = needed
            component.bindirs = []
            component.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            self.cpp_info.components["threads"].system_libs = ["pthread"]
