# Conan 2:  conan create packaging/conan
# The version repeats include/stagewalk/version.hpp; tests/packaging compares the two.
import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy
from conan.tools.layout import basic_layout

required_conan_version = ">=2.0"


class StagewalkConan(ConanFile):
    name = "stagewalk"
    version = "0.1.0"
    description = "Walks, builds and combines IOMMU page tables"
    license = "MIT"
    url = "https://github.com/stagewalk/stagewalk"
    homepage = "https://github.com/stagewalk/stagewalk"
    topics = ("iommu", "page-tables", "virtualization", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    def export_sources(self):
        tree = os.path.join(self.recipe_folder, os.pardir, os.pardir)
        copy(self, "LICENSE", src=tree, dst=self.export_sources_folder)
        copy(self, "include/stagewalk/*.hpp", src=tree, dst=self.export_sources_folder)

    def layout(self):
        basic_layout(self)

    def package_id(self):
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 20)

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))
        copy(self, "*.hpp", src=os.path.join(self.source_folder, "include"),
             dst=os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "stagewalk")
        self.cpp_info.set_property("cmake_target_name", "stagewalk::stagewalk")
        self.cpp_info.set_property("pkg_config_name", "stagewalk")
