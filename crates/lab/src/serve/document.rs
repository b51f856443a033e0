//! Makes documents for the store out of what the lanes receive.

use model::time::UnixNanos;

use super::facts::Facts;
use super::store::{Incoming, Mode};

/// From one forward entry: the home is the day of the record's own time, as daily indices have it.
pub(crate) fn from_forward(time: UnixNanos, json: String) -> Result<Incoming, serde_json::Error> {
    let mut facts = Facts::parse(&json)?;
    let mut json = json;
    if facts.time == 0 {
        facts.time = time.0;
        json = with_time(&json, time);
    }
    let id = if facts.id.is_empty() {
        random_id()
    } else {
        facts.id.clone()
    };
    let home = UnixNanos(facts.time).day().to_string();
    Ok(Incoming::new(id, home, Mode::Create, json, facts))
}

/// From one item of a bulk request.
pub(crate) fn from_bulk(
    index: String,
    id: Option<String>,
    mode: Mode,
    json: String,
) -> Result<Incoming, serde_json::Error> {
    let facts = Facts::parse(&json)?;
    let id = id.unwrap_or_else(random_id);
    Ok(Incoming::new(id, index, mode, json, facts))
}

/// An id for a document that brings none: it will never be recognised as sent twice.
fn random_id() -> String {
    format!("{:020x}", fastrand::u128(..) >> 48)
}

/// Puts `@timestamp` first into the object `json`.
fn with_time(json: &str, time: UnixNanos) -> String {
    let inside = json.trim_start().strip_prefix('{').unwrap_or_default();
    let comma = if inside.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    format!("{{\"@timestamp\":\"{time}\"{comma}{inside}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_time_gets_the_entrys() {
        let time = UnixNanos(1_795_406_977_672_424_268);
        for json in ["{}", r#"{"message":"x"}"#] {
            let row = from_forward(time, json.to_owned()).unwrap();
            assert_eq!(Facts::parse(&row.json).unwrap().time, time.0);
            assert_eq!(row.home, "2026.11.23");
            assert_eq!(row.id.len(), 20);
        }
    }

    #[test]
    fn a_records_own_time_decides_its_home() {
        let json = r#"{"@timestamp":"2026-11-21T23:59:59.9Z","event.id":"e"}"#;
        let row = from_forward(UnixNanos(1), json.to_owned()).unwrap();
        assert_eq!((row.home.as_str(), row.id.as_str()), ("2026.11.21", "e"));
    }
}
