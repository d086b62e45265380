//! The command line of the benchmark.

fn main() {}
