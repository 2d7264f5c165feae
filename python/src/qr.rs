//! QR codes to show to a person.

use centralita::qr;
use pyo3::prelude::*;

use crate::errors;

/// A QR code: what a phone must scan to link a device. A secret while it is valid.
#[pyclass(frozen, module = "centralita")]
pub(crate) struct QrCode(qr::QrCode);

#[pymethods]
impl QrCode {
    #[new]
    fn new(py: Python<'_>, text: &str) -> PyResult<Self> {
        qr::QrCode::new(text).map(Self).map_err(|error| errors::raise(py, &error))
    }

    /// What it holds, for those who draw it themselves.
    #[getter]
    fn text(&self) -> &str {
        self.0.text()
    }

    /// Modules a side, without the quiet zone.
    #[getter]
    fn width(&self) -> usize {
        self.0.width()
    }

    /// Lines of half blocks for a terminal.
    fn to_terminal(&self) -> String {
        self.0.to_terminal()
    }

    /// An SVG picture that scales, black on white.
    fn to_svg(&self) -> String {
        self.0.to_svg()
    }

    /// A PNG picture, black on white, `scale` pixels a module (1 to 64).
    #[pyo3(signature = (scale=8))]
    fn to_png(&self, py: Python<'_>, scale: u32) -> PyResult<Vec<u8>> {
        self.0.to_png(scale).map_err(|error| errors::raise(py, &error))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.0.text().hash(&mut hasher);
        hasher.finish()
    }

    /// Without the text.
    fn __repr__(&self) -> String {
        format!("<QrCode of {} modules a side>", self.0.width())
    }
}
