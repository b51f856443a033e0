//! What spans of one form have in common once they are shaped.
//!
//! Most spans differ from others only in ids, times, events and the statement; whoever reads them says
//! which have the same *form*. The first of a form is shaped as a whole, and the others are cast from
//! what came out. Only calls are cast: what a request is called depends on more than its span.

use std::borrow::Cow;

use model::evidence::SpanKind;
use model::span::Span;
use model::verdict::User;
use opentelemetry::trace::{SpanKind as Kind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;

use crate::attributes::{STATEMENT, statement};
use crate::events::events;
use crate::lookup::Lookup;
use crate::names::Words;
use crate::shape::{Common, data, push_person, shape};

/// Most moulds that are kept: as many as there are forms at a time.
const MOULDS_MAX: usize = 16;

/// Moulds by the number of their form, the one used last in front.
#[derive(Debug, Default)]
pub(crate) struct Moulds {
    moulds: Vec<(u64, Mould)>,
}

/// All that a form's spans have in common.
#[derive(Debug)]
struct Mould {
    name: Cow<'static, str>,
    kind: Kind,
    attributes: Vec<KeyValue>,
    /// Which attribute is the statement.
    statement: Option<usize>,
    scope: InstrumentationScope,
}

impl Moulds {
    /// Whether there is one for the form.
    pub(crate) fn has(&self, form: u64) -> bool {
        self.moulds.iter().any(|(known, _)| *known == form)
    }

    /// Makes one out of the whole span and what it became without a person.
    fn make(&mut self, form: u64, span: &Span<'_>, shaped: &SpanData) {
        let statements = span.tags.iter().filter(|(key, _)| key == STATEMENT);
        let statement = shaped
            .attributes
            .iter()
            .rposition(|attribute| attribute.key.as_str() == STATEMENT);
        let plain = span.kind == SpanKind::Client && !span.failed && shaped.status == Status::Unset;
        if !plain || statements.count() > 1 || self.has(form) {
            return;
        }
        let mould = Mould {
            name: shaped.name.clone(),
            kind: shaped.span_kind.clone(),
            attributes: shaped.attributes.clone(),
            statement,
            scope: shaped.instrumentation_scope.clone(),
        };
        self.moulds.truncate(MOULDS_MAX - 1);
        self.moulds.insert(0, (form, mould));
    }

    fn of(&mut self, form: u64) -> Option<&Mould> {
        let place = self.moulds.iter().position(|(known, _)| *known == form)?;
        self.moulds.get_mut(..=place)?.rotate_right(1);
        self.moulds.first().map(|(_, mould)| mould)
    }
}

/// Shapes a span of a form: from the outline of it, if there is a mould, and otherwise from the whole.
pub(crate) fn shape_formed(
    span: &Span<'_>,
    form: u64,
    person: Option<&User>,
    words: &mut Words,
    lookup: &dyn Lookup,
) -> SpanData {
    let Some(mould) = words.moulds.of(form) else {
        let mut shaped = shape(span, None, words, lookup);
        words.moulds.make(form, span, &shaped);
        // what a mould is made of ends with its attributes; a status adds one behind the person
        if person.is_some() {
            shaped = shape(span, person, words, lookup);
        }
        return shaped;
    };
    let mut attributes = Vec::with_capacity(mould.attributes.len() + PERSON_ATTRIBUTES);
    attributes.extend_from_slice(&mould.attributes);
    if let (Some(place), Some(said)) = (mould.statement, span.tag(STATEMENT))
        && let Some(attribute) = attributes.get_mut(place)
    {
        attribute.value = statement(said, lookup);
    }
    push_person(person, &mut attributes);
    let common = Common {
        name: mould.name.clone(),
        kind: mould.kind.clone(),
        attributes,
        status: Status::Unset,
        scope: mould.scope.clone(),
    };
    let events = events(&span.annotations, words, lookup);
    data(span, common, events)
}

/// Those that a person adds.
const PERSON_ATTRIBUTES: usize = 2;
