//! The one line that a program prints.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

/// Figures in the order they are put, and which of them must not be.
#[derive(Debug)]
#[must_use = "finish() prints it"]
pub struct Report {
    fields: Vec<(String, Value)>,
    failures: Vec<String>,
}

impl Report {
    /// The report of a program.
    pub fn new(bench: &str) -> Self {
        Self { fields: vec![("bench".to_owned(), bench.into())], failures: Vec::new() }
    }

    /// A figure.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// A figure, to three decimals.
    pub fn measured(&mut self, name: &str, value: f64) -> &mut Self {
        self.put(name, (value * 1000.0).round() / 1000.0)
    }

    /// A figure, or null if it cannot be measured here.
    pub fn measured_if(&mut self, name: &str, value: Option<f64>) -> &mut Self {
        match value {
            Some(value) => self.measured(name, value),
            None => self.put(name, Value::Null),
        }
    }

    /// A figure that is a failure unless it is 0.
    pub fn must_be_zero(&mut self, name: &str, value: u64) -> &mut Self {
        self.must_be(name, value, 0)
    }

    /// A figure that is a failure unless it is so many.
    pub fn must_be(&mut self, name: &str, value: u64, wanted: u64) -> &mut Self {
        if value != wanted {
            self.failures.push(format!("{name} is {value}, must be {wanted}"));
        }
        self.put(name, value)
    }

    /// A failure that no figure shows.
    pub fn fail(&mut self, why: impl Into<String>) -> &mut Self {
        self.failures.push(why.into());
        self
    }

    /// Prints the line. Exit code 1 if anything failed.
    pub fn finish(&self) -> ExitCode {
        let fields: Vec<String> = self
            .fields
            .iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
            .collect();
        let printed = writeln!(std::io::stdout(), "{{{}}}", fields.join(","));
        for failure in &self.failures {
            crate::progress(format_args!("FAILED: {failure}"));
        }
        if printed.is_ok() && self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
