#!/bin/bash
# Expected: a cast of arrow-rs gives NULL for a value that does not fit, as it is documented and as it
# does for DECIMAL(38) and for unsigned targets. Found: of Decimal256 cast to a signed integer the low
# 64 bits are taken, so that 2^64 + 7 becomes the TINYINT 7.
# For users of Tidegauge: decimals are read as integers by their digits (docs/semantics.md, Parquet).
set -euo pipefail
VERSION=59.3.2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat > "$work/Cargo.toml" <<TOML
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[dependencies]
arrow-array = "=$VERSION"
arrow-buffer = "=$VERSION"
arrow-cast = "=$VERSION"
arrow-schema = "=$VERSION"
TOML
cat > "$work/src/main.rs" <<'RUST'
use arrow_array::cast::AsArray;
use arrow_array::types::Int8Type;
use arrow_array::{Array, ArrayRef, Decimal128Array, Decimal256Array};
use arrow_buffer::i256;
use arrow_schema::DataType;
use std::sync::Arc;

fn shown(array: &dyn Array) -> String {
    let cast = arrow_cast::cast(array, &DataType::Int8).unwrap();
    let values = cast.as_primitive::<Int8Type>();
    format!("{:?}", values.iter().collect::<Vec<_>>())
}

fn main() {
    let value = "18446744073709551623"; // 2^64 + 7
    let wide: ArrayRef = Arc::new(
        Decimal256Array::from(vec![i256::from_string(value).unwrap()])
            .with_precision_and_scale(40, 0)
            .unwrap(),
    );
    let narrow: ArrayRef = Arc::new(
        Decimal128Array::from(vec![value.parse::<i128>().unwrap()])
            .with_precision_and_scale(38, 0)
            .unwrap(),
    );
    println!("Decimal256 {value} as Int8: {}", shown(&wide));
    println!("Decimal128 {value} as Int8: {}", shown(&narrow));
}
RUST
echo "arrow-cast $VERSION"
output=$(cd "$work" && cargo run --quiet)
echo "$output"
expected='Decimal256 18446744073709551623 as Int8: [Some(7)]
Decimal128 18446744073709551623 as Int8: [None]'
if [ "$output" != "$expected" ]; then
  echo "this has changed; seen before:"
  echo "$expected"
  exit 1
fi
# Seen on 2026-11-28:
# arrow-cast 59.3.2
# Decimal256 18446744073709551623 as Int8: [Some(7)]
# Decimal128 18446744073709551623 as Int8: [None]
