//! Does nothing; a package without one builds no build dependencies.

fn main() {}
