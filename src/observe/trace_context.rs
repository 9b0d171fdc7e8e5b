//! A trace that goes on in another process: the open span in the form of W3C's Trace Context
//! (2021), and a span that is made a child of it there.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The span that work elsewhere is part of. It has no fields where spans are not exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    fields: HashMap<String, String>,
}

impl TraceContext {
    /// The names of its fields, as they are in headers.
    pub const FIELDS: [&str; 2] = ["traceparent", "tracestate"];

    /// That of the span that is open.
    pub fn current() -> Self {
        let mut fields = HashMap::new();
        TraceContextPropagator::new().inject_context(&Span::current().context(), &mut fields);
        fields.retain(|_, value| !value.is_empty());
        Self { fields }
    }

    /// What `get` knows by the names of the fields.
    pub fn received<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        let found = Self::FIELDS.into_iter().filter_map(|name| Some((name, get(name)?)));
        Self { fields: found.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    /// Its fields by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Makes `span` a child of it; `span` stays a root where there is no valid parent.
    pub(super) fn adopt(&self, span: &Span) {
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &self.fields);
        if parent.span().span_context().is_valid()
            && let Err(error) = span.set_parent(parent)
        {
            // This process exports no spans; the other one does.
            tracing::trace!(%error, "a span goes without its parent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_exported_there_are_no_fields() {
        let span = tracing::info_span!("step");
        assert_eq!(span.in_scope(TraceContext::current), TraceContext::default());
    }

    #[test]
    fn other_fields_are_left_out() {
        let context = TraceContext::received(|name| (name == "traceparent").then_some("00-1-2-01"));
        assert_eq!(context.fields().collect::<Vec<_>>(), [("traceparent", "00-1-2-01")]);
    }
}
