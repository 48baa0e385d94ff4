//! Does nothing; a package without a build script builds no build dependencies.

fn main() {}
