# A recipe for Yocto 5.3 and later; docs/packaging.md says what was checked. Set SRC_URI and SRCREV to the layer's own copy of the sources, and
# write the list of crates with `bitbake -c update_crates causalclipseg`, once while the line that requires it is commented out.
SUMMARY = "Text-prompted lesion segmentation for ultrasound: the C library"
DESCRIPTION = "Marks lesions in ultrasound images from a sentence that says what to look for, on the CPU. Research software; not a medical device."
HOMEPAGE = "https://example.org/causalclipseg"
BUGTRACKER = "https://example.org/causalclipseg/issues"
SECTION = "libs"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=18185f62c94fa6e7f05fefcee9b79d1c"
CVE_PRODUCT = "causalclipseg"

SRC_URI = "git://example.org/causalclipseg.git;protocol=https;branch=main"
SRCREV = "INVALID"
require ${BPN}-crates.inc

inherit cargo cargo-update-recipe-crates pkgconfig

# Rust 1.95 or later: from meta-lts-mixins if the release's own is older.
# The class builds the profile `release`, in the folder of that name.
BUILD_MODE = "--profile device"
BUILD_DIR = "device"
CARGO_BUILD_FLAGS += "--package causalclipseg-capi"
# Symbols are stripped by Yocto, into the package of debug symbols.
export CARGO_PROFILE_DEVICE_STRIP = "none"

do_install() {
    DESTDIR=${D} LIBDIR=${baselib} ${S}/packaging/install.sh ${B}/target/${CARGO_TARGET_SUBDIR} ${prefix}
    install -d ${D}${datadir}/causalclipseg
    install -m 0644 ${S}/models/tiny.ccs ${D}${datadir}/causalclipseg/
}

PACKAGE_BEFORE_PN = "${PN}-model"
FILES:${PN}-model = "${datadir}/causalclipseg"
