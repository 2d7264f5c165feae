//! QR codes to show to a person: in a terminal, a page or a picture.

use std::fmt;

use qrcode::types::QrError;
use qrcode::{Color, EcLevel};

use crate::error::{Error, ErrorKind, Result};

/// Light modules that a reader needs around a code.
const QUIET: usize = 4;

/// The largest number of pixels a module takes in a picture.
const MAX_SCALE: u32 = 64;

/// What a phone must scan to link a device. Whoever has it within its minute of life has the account.
#[derive(Clone, PartialEq, Eq)]
pub struct QrCode {
    text: String,
    modules: Vec<bool>,
    width: usize,
}

impl QrCode {
    /// A code that holds `text`. `Invalid` if that is more than a QR code can hold (2,953 bytes).
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        // The lowest correction: a screen has no scratches, and WhatsApp's codes are long.
        let code = qrcode::QrCode::with_error_correction_level(&text, EcLevel::L).map_err(|error| {
            let message = match error {
                QrError::DataTooLong => "the text is too long for a QR code; the most is 2,953 bytes",
                _ => "the text cannot be made a QR code",
            };
            Error::new(ErrorKind::Invalid, message).during("qr code")
        })?;
        let width = code.width();
        let modules = code.into_colors().into_iter().map(|color| color == Color::Dark).collect();
        Ok(Self { text, modules, width })
    }

    /// What it holds, for those who draw it themselves.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Modules a side, without the quiet zone.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Lines of half blocks for a terminal, with a quiet zone, each ended by a line feed.
    ///
    /// Light modules are drawn and dark ones left out, which reads on a dark terminal as printed on paper;
    /// phones read the inverse of a light terminal as well.
    pub fn to_terminal(&self) -> String {
        let side = self.width + 2 * QUIET;
        let mut lines = String::with_capacity(side * (side / 2 + 1) * 3);
        for y in (0..side).step_by(2) {
            for x in 0..side {
                // Below the last line is nothing to draw.
                let below = y + 1 < side && !self.is_dark(x, y + 1);
                lines.push(match (!self.is_dark(x, y), below) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            lines.push('\n');
        }
        lines
    }

    /// An SVG picture that scales, black on white, with a quiet zone.
    pub fn to_svg(&self) -> String {
        let side = self.width + 2 * QUIET;
        let mut path = String::new();
        for y in 0..side {
            for x in (0..side).filter(|x| self.is_dark(*x, y)) {
                path.push_str(&format!("M{x} {y}h1v1h-1z"));
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
             shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/>\
             <path fill=\"#000\" d=\"{path}\"/></svg>"
        )
    }

    /// A PNG picture, black on white, `scale` pixels a module, with a quiet zone. `Invalid` unless `scale` is
    /// 1 to 64.
    pub fn to_png(&self, scale: u32) -> Result<Vec<u8>> {
        if scale == 0 || scale > MAX_SCALE {
            let message = format!("scale must be 1 to {MAX_SCALE} pixels a module");
            return Err(Error::new(ErrorKind::Invalid, message).during("qr code"));
        }
        let scale = scale as usize;
        let side = (self.width + 2 * QUIET) * scale;
        let mut pixels = Vec::with_capacity(side.div_ceil(8) * side);
        for y in 0..side {
            let mut row = vec![0_u8; side.div_ceil(8)];
            for x in (0..side).filter(|x| !self.is_dark(x / scale, y / scale)) {
                row[x / 8] |= 0x80 >> (x % 8);
            }
            pixels.extend_from_slice(&row);
        }
        write_png(side, &pixels).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write a PNG into memory; report it")
                .during("qr code")
                .caused_by(error)
        })
    }

    /// Whether the module at this place, counted from the corner of the quiet zone, is dark.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = QUIET..QUIET + self.width;
        inside.contains(&x) && inside.contains(&y) && self.modules[(y - QUIET) * self.width + x - QUIET]
    }
}

fn write_png(side: usize, pixels: &[u8]) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let side = u32::try_from(side).expect("185 modules of 64 pixels");
    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(picture)
}

impl fmt::Debug for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QrCode").field("width", &self.width).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const TEXT: &str = "2@AbCdEf0123456789,xyz,uvw,ref";

    fn code() -> QrCode {
        QrCode::new(TEXT).unwrap()
    }

    /// Dark modules by row, quiet zone included, as another implementation draws them.
    fn expected() -> Vec<Vec<bool>> {
        let code = qrcode::QrCode::with_error_correction_level(TEXT, EcLevel::L).unwrap();
        let drawn = code.render::<char>().quiet_zone(true).module_dimensions(1, 1).build();
        drawn.lines().map(|line| line.chars().map(|c| c != ' ').collect()).collect()
    }

    #[test]
    fn the_terminal_shows_every_module() {
        let expected = expected();
        let shown = code().to_terminal();
        let lines: Vec<Vec<char>> = shown.lines().map(|line| line.chars().collect()).collect();
        let side = code().width() + 8;
        assert_eq!(lines.len(), side.div_ceil(2));
        assert!(lines.iter().all(|line| line.len() == side));
        for (y, row) in expected.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                let light = if y % 2 == 0 { "█▀" } else { "█▄" };
                assert_eq!(!light.contains(lines[y / 2][x]), *dark, "module {x},{y}");
            }
        }
    }

    #[test]
    fn the_png_decodes_and_holds_every_module() {
        let expected = expected();
        for scale in [1, 3, 8] {
            let picture = code().to_png(scale).unwrap();
            let mut reader = png::Decoder::new(Cursor::new(picture)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let frame = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((frame.color_type, frame.bit_depth), (png::ColorType::Grayscale, png::BitDepth::One));
            assert_eq!(frame.width as usize, expected.len() * scale as usize);
            assert_eq!(frame.height, frame.width);
            for y in 0..frame.height as usize {
                for x in 0..frame.width as usize {
                    let white = pixels[y * frame.line_size + x / 8] & (0x80 >> (x % 8)) != 0;
                    assert_eq!(!white, expected[y / scale as usize][x / scale as usize]);
                }
            }
        }
        assert_eq!(code().to_png(0).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(code().to_png(65).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn the_svg_draws_as_many_modules_as_are_dark() {
        let svg = code().to_svg();
        let dark = expected().iter().flatten().filter(|dark| **dark).count();
        assert_eq!(svg.matches("h1v1h-1z").count(), dark);
        let side = code().width() + 8;
        assert!(svg.contains(&format!("viewBox=\"0 0 {side} {side}\"")));
    }

    #[test]
    fn it_says_when_a_text_is_too_long() {
        assert!(QrCode::new("x".repeat(2_953)).is_ok());
        let error = QrCode::new("x".repeat(2_954)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn debug_hides_the_text() {
        let shown = format!("{:?}", code());
        assert!(!shown.contains("AbCdEf") && shown.starts_with("QrCode"));
    }
}
