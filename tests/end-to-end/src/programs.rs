//! Programs as a user would run them: started, read, killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::within;

/// A program of this workspace, built beside the tests: `examples/ping`, `quickstart`.
pub fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test has a file");
    let folder = tests.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    // Cargo can keep what it builds on the way (the tests) apart from the programs.
    let folder = match (std::env::var_os("CARGO_TARGET_DIR"), folder.file_name()) {
        (Some(target), Some(profile)) => PathBuf::from(target).join(profile),
        _ => folder.to_owned(),
    };
    let program = folder.join(name);
    assert!(program.exists(), "{} is not built; run ./test", program.display());
    program
}

/// A running program whose output is read line by line. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts it in a folder, with the stand-in at `server`.
    pub fn start(program: &Path, folder: &Path, server: &str) -> Self {
        Self::start_with(program, &[], folder, server)
    }

    /// Starts it with arguments.
    pub fn start_with(program: &Path, arguments: &[&str], folder: &Path, server: &str) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env("CENTRALITA_STAND_IN_URL", server)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("it is piped");
        Self { child, lines: BufReader::new(stdout).lines() }
    }

    /// Reads until a QR code has been printed, and returns its text.
    pub async fn qr_code(&mut self) -> String {
        let mut seen = Vec::new();
        within("a QR code on the terminal", async {
            loop {
                let line = self.lines.next_line().await.expect("it can be read").expect("it still runs");
                seen.push(line);
                if let Some(text) = qr_from_terminal(&seen) {
                    return text;
                }
            }
        })
        .await
    }

    /// Reads its next line.
    pub async fn line(&mut self) -> String {
        let line = within("a line of the program", self.lines.next_line()).await;
        line.expect("it can be read").expect("it still runs")
    }

    /// What it has printed and not been read so far, without waiting for more than is there.
    pub async fn kill(mut self) -> Vec<String> {
        self.child.kill().await.expect("it can be killed");
        let mut rest = Vec::new();
        while let Some(line) = self.lines.next_line().await.expect("it can be read") {
            rest.push(line);
        }
        rest
    }
}

/// Reads a QR code that was drawn with half blocks, as a camera would: by its pattern alone.
pub fn qr_from_terminal(lines: &[String]) -> Option<String> {
    let is_drawn = |line: &&String| {
        !line.is_empty()
            && line.chars().all(|c| matches!(c, ' ' | '█' | '▀' | '▄'))
            && line.chars().count() > 20
    };
    let drawn: Vec<Vec<char>> = lines.iter().filter(is_drawn).map(|line| line.chars().collect()).collect();
    let width = drawn.iter().map(Vec::len).max()?;
    // Both halves of each character; whether a block is ink or paper depends on the terminal: try both.
    let lit = |x: usize, y: usize| {
        let c = drawn.get(y / 2).and_then(|row| row.get(x)).copied().unwrap_or(' ');
        c == '█' || (c == '▀' && y.is_multiple_of(2)) || (c == '▄' && !y.is_multiple_of(2))
    };
    const SCALE: usize = 4;
    const MARGIN: usize = 4;
    let height = drawn.len() * 2;
    [true, false].into_iter().find_map(|lit_is_paper| {
        let (w, h) = ((width + 2 * MARGIN) * SCALE, (height + 2 * MARGIN) * SCALE);
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(w, h, |px, py| {
            let (x, y) = (px / SCALE, py / SCALE);
            let inside = x >= MARGIN && y >= MARGIN && x < width + MARGIN && y < height + MARGIN;
            if !inside || lit(x - MARGIN, y - MARGIN) == lit_is_paper { 255 } else { 0 }
        });
        image.detect_grids().first()?.decode().ok().map(|(_, text)| text)
    })
}
