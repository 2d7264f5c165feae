//! The native module under the Python package `centralita`.

use pyo3::prelude::*;

/// The native half of the package.
#[pymodule]
mod _native {}
