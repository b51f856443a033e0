//! Words that have no place in the repository.

use super::{Finding, Source};

/// What must not be there and why; split so that this file does not find itself.
const WORDS: [(&str, &str); 7] = [
    (concat!("TO", "DO"), "finish it, or write an ADR"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("todo", "!("), "write the code"),
    (concat!("unimplemented", "!("), "write the code"),
    (concat!("#[", "ignore"), "a test runs, or it is no test"),
    (concat!("/", "work/"), "a path of one machine"),
    (concat!("/", "root/"), "a path of one machine"),
];

/// Lines that have one of the words.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().zip(1..);
    lines
        .flat_map(|(line, number)| {
            WORDS
                .iter()
                .filter(move |(word, _)| has_word(line, word))
                .map(move |(word, why)| {
                    let place = format!("{}:{number}", source.path);
                    Finding::new(place, format!("has `{word}`: {why}"))
                })
        })
        .collect()
}

/// Whether `word` stands in `line`, not as the end of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source = Source::new("a.rs".to_owned(), text.to_owned());
        check(&source).into_iter().map(|f| f.place).collect()
    }

    #[test]
    fn each_word_is_found_with_its_line() {
        for (word, _) in WORDS {
            assert_eq!(found(&format!("fn a() {{}}\n// {word} b\n")), ["a.rs:2"]);
        }
    }

    #[test]
    fn words_that_only_end_alike_are_not() {
        assert_eq!(found("see docs/work/plan and METHODTODO"), [""; 0]);
    }
}
