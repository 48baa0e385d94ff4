//! Compares every shader with a plain implementation, over shapes that do not fill a tile. Where there is no adapter
//! the tests say so and pass.

mod decoder;
mod failures;
mod mask;
mod pairs;
mod peaks;
mod plain;
mod pointwise;
mod products;
mod rig;
