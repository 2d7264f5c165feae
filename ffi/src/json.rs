//! JSON that comes in and goes out.

use centralita::store::Page;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Outcome, invalid};
use crate::operation::Output;
use crate::text::centralita_str;

/// Reads JSON of a caller; none is the default.
///
/// # Safety
/// As for [`centralita_str::read`].
pub(crate) unsafe fn read<T: DeserializeOwned + Default>(
    text: centralita_str,
    what: &'static str,
) -> Outcome<T> {
    // SAFETY: passed on.
    let Some(text) = (unsafe { text.optional(what) })? else { return Ok(T::default()) };
    serde_json::from_str(text).map_err(|error| {
        // Where, not what: serde quotes values.
        let what_kind = match error.classify() {
            serde_json::error::Category::Data => "has a field that is unknown or of another type",
            _ => "is not JSON",
        };
        invalid(format!("{what} {what_kind} (line {}, column {})", error.line(), error.column()))
    })
}

/// What an operation gives as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> From<Json<T>> for Output {
    fn from(Json(value): Json<T>) -> Self {
        Self::Text(to_text(&value))
    }
}

pub(crate) fn to_text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("what the core gives has no maps whose keys are not strings")
}

/// A page as the header describes it.
pub(crate) fn page<T: Serialize>(page: Page<T>) -> Json<serde_json::Value> {
    Json(json!({ "items": page.items, "next": page.next, "malformed": page.malformed }))
}

/// Which part of a list.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct PageQuery {
    limit: Option<u32>,
    pub(crate) after: Option<String>,
}

impl PageQuery {
    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(100)
    }
}
