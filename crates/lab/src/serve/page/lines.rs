//! One line of a list, ready for the templates.

use super::text;
use crate::serve::facts::{Attribution, Facts};

/// Fields that a line shows at most.
const FIELDS_MAX: usize = 24;
/// Bytes of a field's value that are shown.
const VALUE_BYTES_MAX: usize = 160;

/// A line or a request document as it is shown.
pub(super) struct Line {
    /// The day, above the first line of a day.
    pub(super) heading: Option<String>,
    pub(super) day: String,
    pub(super) clock: String,
    /// Only in a request's own page: time since its start.
    pub(super) offset: Option<String>,
    pub(super) service: String,
    pub(super) colour: u32,
    pub(super) level: String,
    pub(super) level_class: &'static str,
    pub(super) request: bool,
    pub(super) parts: Vec<Part>,
    pub(super) cut: bool,
    pub(super) fields: Vec<(String, Vec<Part>)>,
    /// Only in lists: in a request's page the person stands at its head.
    pub(super) person: Option<Person>,
    /// Its trace as a part of an address.
    pub(super) trace: String,
    pub(super) id: String,
    /// Only in a request's own page: the span it belongs to, if the page has it.
    pub(super) span: String,
    /// Whether it is the first of that span.
    pub(super) first_of_span: bool,
    pub(super) place: Vec<Part>,
    pub(super) why: &'static str,
}

/// A run of text, marked or not.
pub(super) struct Part {
    pub(super) text: String,
    pub(super) marked: bool,
}

/// Whom a line belongs to, said honestly.
pub(super) struct Person {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) hint: String,
}

impl Line {
    /// For a list of lines of many requests; `words` are marked in the message.
    pub(super) fn in_list(facts: &Facts, words: &[String]) -> Self {
        let mut line = Self::new(facts, words);
        line.person = Some(Person::of(facts));
        line
    }

    /// For the page of a request that began at `start`.
    pub(super) fn in_request(facts: &Facts, start: u64) -> Self {
        let mut line = Self::new(facts, &[]);
        line.offset = Some(text::offset(facts.time.saturating_sub(start)));
        line
    }

    fn new(facts: &Facts, words: &[String]) -> Self {
        let message = if facts.request {
            described(facts)
        } else {
            facts.message.clone()
        };
        let (shown, cut) = text::shorten(&message, text::MESSAGE_BYTES_MAX);
        let fields = facts.fields.iter().take(FIELDS_MAX);
        Self {
            heading: None,
            day: text::day(facts.time),
            clock: text::clock(facts.time),
            offset: None,
            service: facts.service.clone(),
            colour: text::colour(&facts.service),
            level: facts.level.clone(),
            level_class: text::level_class(&facts.level),
            request: facts.request,
            parts: mark(shown, words),
            cut,
            fields: fields
                .filter(|(key, _)| !key.starts_with("log.origin."))
                .map(|(key, value)| {
                    let (value, cut) = text::shorten(value, VALUE_BYTES_MAX);
                    let key = key.strip_prefix("emco.").unwrap_or(key);
                    {
                        let value = format!("{value}{}", if cut { "…" } else { "" });
                        (key.to_owned(), mark(&value, words))
                    }
                })
                .collect(),
            person: None,
            trace: text::encoded(&facts.trace),
            id: facts.id.clone(),
            span: String::new(),
            first_of_span: false,
            place: mark(&place(facts), words),
            why: text::rule(&facts.rule),
        }
    }
}

impl Person {
    fn of(facts: &Facts) -> Self {
        let attribution = facts.attribution();
        let (name, hint) = match attribution {
            Attribution::Person => (
                facts.user.clone(),
                format!("proven by {}", text::proof(&facts.user_source)),
            ),
            Attribution::Unproven => (
                "unproven".to_owned(),
                "the request is known, but nothing proves whose it was".to_owned(),
            ),
            Attribution::Ambiguous => ("ambiguous".to_owned(), ambiguous(facts)),
            Attribution::Background => (
                "background".to_owned(),
                "no request caused this line".to_owned(),
            ),
            Attribution::None => ("unknown".to_owned(), unknown(facts)),
        };
        Self {
            kind: attribution.name(),
            name,
            hint,
        }
    }
}

fn ambiguous(facts: &Facts) -> String {
    let likely = if facts.inferred_user.is_empty() {
        String::new()
    } else {
        format!("; likely, but not proven: {}", facts.inferred_user)
    };
    match facts.candidates.len() {
        0 => format!("more than one request could have caused this line{likely}"),
        count => format!("{count} requests could have caused this line{likely}"),
    }
}

fn unknown(facts: &Facts) -> String {
    let why = text::rule(&facts.rule);
    if why.is_empty() {
        return "there was no evidence to decide on".to_owned();
    }
    format!("undecided: {why}")
}

fn described(facts: &Facts) -> String {
    let http = &facts.http;
    let outcome = match (http.status, http.failed) {
        (0, true) => "failed".to_owned(),
        (0, false) => "done".to_owned(),
        (status, _) => status.to_string(),
    };
    let took = text::duration(http.duration);
    format!("{} {} → {outcome} in {took}", http.method, http.path)
}

fn place(facts: &Facts) -> String {
    let field = |name: &str| {
        let found = facts.fields.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let (file, line) = (field("log.origin.file.name"), field("log.origin.file.line"));
    match (file.is_empty(), line.is_empty()) {
        (true, _) => String::new(),
        (false, true) => file.to_owned(),
        (false, false) => format!("{file}:{line}"),
    }
}

/// Cuts `message` where `words` begin and end, without regard to case.
fn mark(message: &str, words: &[String]) -> Vec<Part> {
    let lower = message.to_lowercase();
    // Lower case may have other lengths than the text; then nothing is marked.
    let same_shape = lower.len() == message.len();
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = next_match(&lower, at, words).filter(|_| same_shape) {
        push(&mut parts, message.get(at..start), false);
        push(&mut parts, message.get(start..end), true);
        at = end;
    }
    push(&mut parts, message.get(at..), false);
    parts
}

fn next_match(lower: &str, at: usize, words: &[String]) -> Option<(usize, usize)> {
    let rest = lower.get(at..)?;
    words
        .iter()
        .filter_map(|word| {
            let start = at + rest.find(word.as_str())?;
            Some((start, start + word.len()))
        })
        .min_by_key(|(start, end)| (*start, std::cmp::Reverse(*end)))
}

fn push(parts: &mut Vec<Part>, text: Option<&str>, marked: bool) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        parts.push(Part {
            text: text.to_owned(),
            marked,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(message: &str, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let parts = mark(message, &words);
        let parts = parts.iter().map(|part| {
            if part.marked {
                format!("[{}]", part.text)
            } else {
                part.text.clone()
            }
        });
        parts.collect()
    }

    #[test]
    fn found_words_are_marked() {
        assert_eq!(
            marked("Install app x", &["app", "install"]),
            "[Install] [app] x"
        );
        assert_eq!(marked("aaa", &["a", "aa"]), "[aa][a]");
        assert_eq!(marked("nothing", &["x"]), "nothing");
        assert_eq!(marked("İstanbul app", &["app"]), "İstanbul app");
        assert_eq!(marked("", &["x"]), "");
    }
}
