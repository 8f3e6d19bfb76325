//! Rows as lines of JSON; that the text is the one polars writes is tested from Python.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, Date32Array, Float64Array, RecordBatch, StringArray, StringViewArray, StructArray,
    UInt16Array,
};
use arrow_schema::{DataType, Field};
use universal_tracer_core::json::write_rows;

fn lines(columns: Vec<(&str, ArrayRef)>) -> String {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    text(&batch)
}

fn text(batch: &RecordBatch) -> String {
    let mut out = Vec::new();
    write_rows(batch, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn texts_are_escaped_wherever_the_place() {
    let long = format!("{}\"", "x".repeat(40));
    let values = vec![
        "plain",
        "a\"b\\c",
        "\u{8}\t\n\u{c}\r\u{0}\u{1f}",
        "\u{7f}é\u{2028}",
        &long,
    ];
    let expected = [
        "\"plain\"",
        r#""a\"b\\c""#,
        r#""\b\t\n\f\r\u0000\u001f""#,
        "\"\u{7f}é\u{2028}\"",
        &format!("\"{}\\\"\"", "x".repeat(40)),
    ];
    let expected: String = expected
        .map(|value| format!("{{\"t\":{value}}}\n"))
        .concat();
    assert_eq!(
        lines(vec![("t", Arc::new(StringArray::from(values.clone())))]),
        expected
    );
    assert_eq!(
        lines(vec![("t", Arc::new(StringViewArray::from(values)))]),
        expected
    );
}

#[test]
fn what_is_no_number_is_null() {
    let values = [
        Some(1.5),
        None,
        Some(f64::NAN),
        Some(f64::INFINITY),
        Some(-0.0),
        Some(1e16),
    ];
    assert_eq!(
        lines(vec![("x", Arc::new(Float64Array::from(values.to_vec())))]),
        "{\"x\":1.5}\n{\"x\":null}\n{\"x\":null}\n{\"x\":null}\n{\"x\":-0.0}\n{\"x\":1e+16}\n"
    );
}

#[test]
fn lists_of_a_slice_begin_where_it_begins() {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for values in [&[Some(1), Some(2)][..], &[], &[None, Some(-3)]] {
        lists.append_value(values.iter().copied());
    }
    lists.append_null();
    let batch = RecordBatch::try_from_iter([("l", Arc::new(lists.finish()) as ArrayRef)]).unwrap();
    assert_eq!(
        text(&batch.slice(1, 3)),
        "{\"l\":[]}\n{\"l\":[null,-3]}\n{\"l\":null}\n"
    );
}

#[test]
fn endpoints_have_the_members_that_apply() {
    let mut paths = StringBuilder::new();
    paths.append_null();
    paths.append_value("/run/x");
    paths.append_null();
    let member = |name: &str, kind| Arc::new(Field::new(name, kind, true));
    let peers = StructArray::from(vec![
        (
            member("address", DataType::Utf8),
            Arc::new(StringArray::from(vec![Some("::1"), None, None])) as ArrayRef,
        ),
        (
            member("port", DataType::UInt16),
            Arc::new(UInt16Array::from(vec![Some(80), None, None])),
        ),
        (member("path", DataType::Utf8), Arc::new(paths.finish())),
    ]);
    assert_eq!(
        lines(vec![("peer", Arc::new(peers))]),
        "{\"peer\":{\"address\":\"::1\",\"port\":80}}\n{\"peer\":{\"path\":\"/run/x\"}}\n{\"peer\":null}\n"
    );
}

#[test]
fn a_type_that_no_event_has_is_refused() {
    let batch =
        RecordBatch::try_from_iter([("d", Arc::new(Date32Array::from(vec![1])) as ArrayRef)]);
    assert!(write_rows(&batch.unwrap(), &mut Vec::new()).is_err());
}
