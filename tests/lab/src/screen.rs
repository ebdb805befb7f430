//! Reads the text on a machine's screen: from the memory of the card in text mode, else from the picture.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pxe_kit::firmware;

const COLUMNS: usize = 80;
const ROWS: usize = 25;
const CELL: (usize, usize) = (8, 16);
/// The letter A in the font of PC text screens. It marks the place of the font in memtest86+'s program.
const LETTER_A: [u8; 16] = [0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6, 0, 0, 0, 0];

/// A picture of a machine's screen.
#[derive(Clone, PartialEq, Eq)]
pub struct Screen {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Screen({}x{})", self.width, self.height)
    }
}

impl Screen {
    /// Parses the binary PPM that QEMU writes.
    ///
    /// # Errors
    /// If the data has another format.
    pub fn from_ppm(data: &[u8]) -> Result<Self> {
        let mut at = 0;
        let mut word = || {
            let rest = &data[at..];
            let start = rest.iter().position(|b| !b.is_ascii_whitespace())?;
            let length = rest[start..].iter().position(u8::is_ascii_whitespace)?;
            at += start + length;
            std::str::from_utf8(&rest[start..start + length]).ok()
        };
        let header = (|| {
            let kind = word()?;
            let [width, height, most] = [word()?.parse().ok()?, word()?.parse().ok()?, word()?.parse().ok()?];
            (kind == "P6" && most == 255usize).then_some((width, height))
        })();
        let (width, height): (usize, usize) =
            header.context("not a PPM picture with 8 bits for each colour")?;
        let rgb = data.get(at + 1..).unwrap_or_default().to_vec();
        ensure!(width.checked_mul(height * 3) == Some(rgb.len()), "the PPM picture has the wrong size");
        Ok(Self { width, height, rgb })
    }

    /// Whether the card is in text mode. Then its memory contains the text.
    #[must_use]
    pub fn is_text_mode(&self) -> bool {
        self.height == ROWS * CELL.1 && [640, 720].contains(&self.width)
    }

    /// Saves the picture as PNG.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let (width, height) = (u32::try_from(self.width)?, u32::try_from(self.height)?);
        let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        Ok(writer.finish()?)
    }

    fn pixel(&self, x: usize, y: usize) -> &[u8] {
        let at = (y * self.width + x) * 3;
        &self.rgb[at..at + 3]
    }

    /// The cell of one character. A bit is set where the pixel differs from the one in the corner.
    fn cell(&self, x: usize, y: usize) -> [u8; 16] {
        let corner = self.pixel(x, y);
        std::array::from_fn(|row| {
            (0..CELL.0)
                .fold(0, |bits, column| bits << 1 | u8::from(self.pixel(x + column, y + row) != corner))
        })
    }
}

/// The text in the memory of a card in text mode: pairs of character and colour, 80 in a line.
pub(super) fn vga_text(memory: &[u8]) -> String {
    let printable = |c: u8| if (32..127).contains(&c) { char::from(c) } else { ' ' };
    let line =
        |row: &[u8]| row.iter().step_by(2).map(|&c| printable(c)).collect::<String>().trim_end().to_owned();
    memory.chunks(COLUMNS * 2).map(line).collect::<Vec<_>>().join("\n")
}

/// Reads memtest86+'s text from its picture, with the font in memtest86+'s program. The match is exact.
#[derive(Debug, Default)]
pub struct Glyphs(HashMap<[u8; 16], char>);

impl Glyphs {
    /// Takes the font from the installed memtest86+.
    ///
    /// # Errors
    /// If memtest86+ is not installed, or its font is unknown.
    pub fn installed() -> Result<Self> {
        let path = firmware::require("memtest86+ for UEFI", firmware::MEMTEST_X64)?;
        let program = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_program(&program)
            .with_context(|| format!("{} does not contain the known font", path.display()))
    }

    /// Finds the font in the program: 256 cells of 16 bytes, in the order of the characters.
    fn from_program(program: &[u8]) -> Option<Self> {
        let letter = program.windows(16).position(|w| w == LETTER_A)?;
        let font = letter.checked_sub(usize::from(b'A') * 16)?;
        let mut glyphs = HashMap::new();
        for character in b' '..=b'~' {
            let cell = program.get(font + usize::from(character) * 16..)?.first_chunk()?;
            glyphs.entry(*cell).or_insert(char::from(character));
        }
        Some(Self(glyphs))
    }

    /// The 80 by 25 characters in the middle of the picture. Unknown characters are read as `?`.
    #[must_use]
    pub fn read(&self, screen: &Screen) -> String {
        let (width, height) = (COLUMNS * CELL.0, ROWS * CELL.1);
        if screen.width < width || screen.height < height {
            return String::new();
        }
        let (left, top) = ((screen.width - width) / 2, (screen.height - height) / 2);
        let line = |row| {
            let cells = (0..COLUMNS).map(|column| screen.cell(left + column * CELL.0, top + row * CELL.1));
            cells.map(|cell| self.character(cell)).collect::<String>().trim_end().to_owned()
        };
        (0..ROWS).map(line).collect::<Vec<_>>().join("\n")
    }

    fn character(&self, cell: [u8; 16]) -> char {
        let inverse = cell.map(|row| !row);
        self.0.get(&cell).or_else(|| self.0.get(&inverse)).copied().unwrap_or('?')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that contains a font: the real letter A, and the code of each character as its other cells.
    fn program() -> Vec<u8> {
        let mut program = vec![0xee; 100];
        for code in 0..=255u8 {
            let cell: [u8; 16] = if code == b'A' {
                LETTER_A
            } else if code == b' ' {
                [0; 16]
            } else {
                std::array::from_fn(|row| if row == 3 { code & 0x7f } else { 0 })
            };
            program.extend(cell);
        }
        program
    }

    /// Paints a line of characters into the middle of a screen.
    fn paint(text: &str, ink: u8, paper: u8) -> Screen {
        let (width, height) = (800, 600);
        let mut rgb = vec![paper; width * height * 3];
        let font = &program()[100..];
        for (column, code) in text.bytes().enumerate() {
            for row in 0..16 {
                for bit in 0..8 {
                    if font[usize::from(code) * 16 + row] & 0x80 >> bit != 0 {
                        let at = ((100 + row) * width + 80 + column * 8 + bit) * 3;
                        rgb[at..at + 3].fill(ink);
                    }
                }
            }
        }
        Screen { width, height, rgb }
    }

    #[test]
    fn painted_text_is_read_back() {
        let glyphs = Glyphs::from_program(&program()).unwrap();
        let read = glyphs.read(&paint("A B 42", 200, 10));
        assert_eq!(read.lines().next(), Some("A B 42"));
        assert_eq!(read.trim_end(), "A B 42");
    }

    #[test]
    fn a_program_without_the_font_is_refused() {
        assert!(Glyphs::from_program(&[0; 8192]).is_none());
        assert!(Glyphs::from_program(&program()[..2000]).is_none(), "cut off inside the font");
    }

    #[test]
    fn pictures_are_read_whole_or_refused() {
        let screen = Screen::from_ppm(b"P6\n2 1\n255\n\x01\x02\x03\x0a\x0b\x0c").unwrap();
        assert_eq!((screen.width, screen.height, screen.pixel(1, 0)), (2, 1, &[10, 11, 12][..]));
        for bad in
            [&b"P6\n2 1\n255\n\x01"[..], b"P5\n1 1\n255\n\x01", b"P6\n2", b"", b"P6\n1 1\n65535\n\0\0\0"]
        {
            assert!(Screen::from_ppm(bad).is_err());
        }
    }

    #[test]
    fn text_mode_memory_is_text() {
        let mut memory = vec![0; 4000];
        memory[160] = b'o';
        memory[162] = b'k';
        assert_eq!(vga_text(&memory).lines().nth(1), Some("ok"));
    }
}
