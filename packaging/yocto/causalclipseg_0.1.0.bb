# A draft: set SRC_URI to the layer's own sources and mirrors, and list crates in a file that
# `bitbake -c update_crates causalclipseg` writes. It was not built here.
SUMMARY = "Text-prompted lesion segmentation for ultrasound: the C library"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=18185f62c94fa6e7f05fefcee9b79d1c"

SRC_URI = "git://example.org/causalclipseg.git;protocol=https;branch=main"
SRCREV = "${AUTOREV}"
S = "${WORKDIR}/git"
require ${BPN}-crates.inc

inherit cargo cargo-update-recipe-crates pkgconfig

# Rust 1.95 or later: from meta-rust or meta-lts-mixins if the release's own is older.
CARGO_BUILD_FLAGS += "--package causalclipseg-capi --profile device"
# The library is not in cargo's release folder, and has no program to install.
CARGO_OUT = "${B}/target/${CARGO_TARGET_SUBDIR}/../device"

do_install() {
    DESTDIR=${D} LIBDIR=${baselib} ${S}/packaging/install.sh ${CARGO_OUT} ${prefix}
    install -d ${D}${datadir}/causalclipseg
    install -m 644 ${S}/models/tiny.ccs ${D}${datadir}/causalclipseg/
}

PACKAGES =+ "${PN}-model"
FILES:${PN} = "${libdir}/libcausalclipseg.so.*"
FILES:${PN}-dev += "${libdir}/libcausalclipseg.so ${libdir}/cmake ${libdir}/pkgconfig ${includedir}"
FILES:${PN}-staticdev = "${libdir}/libcausalclipseg.a"
FILES:${PN}-model = "${datadir}/causalclipseg"
# The device profile already strips symbols.
INSANE_SKIP:${PN} += "already-stripped"
