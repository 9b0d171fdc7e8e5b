//! Which files of a sink a query has to read: by the values in their paths, and by the range of
//! their times.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, exec_err};
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use tidegauge_commitlog::SinkFile;

use crate::sink::partition_values;

/// Whether `filter` can be decided by a file's path alone.
pub(super) fn is_of_path(filter: &Expr, partition: &[FieldRef]) -> bool {
    let names: Vec<&str> = partition.iter().map(|field| field.name().as_str()).collect();
    let needs_more = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        ))
    };
    !names.is_empty()
        && expr_applicable_for_cols(&names, filter)
        && !filter.exists(needs_more).unwrap_or(true)
}

/// A column for each of `fields` with the value in each file's path.
pub(super) fn path_columns(files: &[SinkFile], fields: &[FieldRef]) -> Result<Vec<ArrayRef>> {
    let values: Vec<Vec<(String, Option<String>)>> =
        files.iter().map(|file| partition_values(&file.published)).collect();
    fields
        .iter()
        .map(|field| {
            let texts: StringArray = values
                .iter()
                .map(|values| {
                    let value = values.iter().find(|(name, _)| name == field.name());
                    value.and_then(|(_, value)| value.as_deref())
                })
                .collect();
            Ok(cast(&texts, field.data_type())?)
        })
        .collect()
}

/// Which rows of `columns` meet all of `filters`; each must be one that [`is_of_path`].
pub(super) fn meets_all(
    session: &dyn Session,
    filters: &[Expr],
    fields: &[FieldRef],
    columns: &[ArrayRef],
    rows: usize,
) -> Result<Vec<bool>> {
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(vec![true; rows]) };
    let schema: SchemaRef = Arc::new(Schema::new(fields.to_vec()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns.to_vec(), &options)?;
    let expr = session.create_physical_expr(filter, &DFSchema::try_from(schema)?)?;
    let met = expr.evaluate(&batch)?.into_array(rows)?;
    let Some(met) = met.as_boolean_opt() else { return exec_err!("a filter must be a condition") };
    Ok((0..rows).map(|row| met.is_valid(row) && met.value(row)).collect())
}

/// Which of `files` may hold rows that meet all of `filters`, by their times.
pub(super) fn may_meet(
    session: &dyn Session,
    filters: &[Expr],
    schema: &SchemaRef,
    files: &[SinkFile],
) -> Vec<bool> {
    let Some(filter) = conjunction(filters.iter().cloned()) else { return vec![true; files.len()] };
    let kept = || -> Result<Vec<bool>> {
        let schema_named = DFSchema::try_from(Arc::clone(schema))?;
        let expr = session.create_physical_expr(filter, &schema_named)?;
        let predicate =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(expr)?;
        predicate.prune(&FileTimes { files, schema })
    };
    // What cannot be decided here is decided row by row.
    kept().unwrap_or_else(|_| vec![true; files.len()])
}

/// The time ranges of files, as their records say.
struct FileTimes<'a> {
    files: &'a [SinkFile],
    schema: &'a SchemaRef,
}

impl FileTimes<'_> {
    fn bounds(&self, column: &Column, bound: fn(&SinkFile) -> Option<i64>) -> Option<ArrayRef> {
        let field = self.schema.field_with_name(&column.name).ok()?;
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = field.data_type() else {
            return None;
        };
        let is_of = |file: &SinkFile| file.time_column.as_deref() == Some(column.name.as_str());
        let bounds: TimestampMicrosecondArray =
            self.files.iter().map(|file| is_of(file).then(|| bound(file)).flatten()).collect();
        (bounds.null_count() < bounds.len())
            .then(|| Arc::new(bounds.with_timezone_opt(zone.clone())) as ArrayRef)
    }
}

impl PruningStatistics for FileTimes<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |file| file.time_min_us)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |file| file.time_max_us)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;
    use datafusion::logical_expr::{col, lit};

    use super::super::session::template;
    use super::*;
    use crate::plan::utc_type;

    fn file(published: &str, time: Option<(i64, i64)>, column: Option<&str>) -> SinkFile {
        SinkFile {
            published: published.to_owned(),
            time_min_us: time.map(|(min, _)| min),
            time_max_us: time.map(|(_, max)| max),
            time_column: column.map(str::to_owned),
            ..SinkFile::default()
        }
    }

    fn fields() -> Vec<FieldRef> {
        vec![
            Arc::new(Field::new("tenant", DataType::Utf8, true)),
            Arc::new(Field::new("shard", DataType::Int32, true)),
        ]
    }

    #[test]
    fn files_are_chosen_by_the_values_in_their_paths() {
        let files = [
            file("tenant=a%20b/shard=1/x.parquet", None, None),
            file("tenant=c/shard=2/x.parquet", None, None),
            file("tenant=__HIVE_DEFAULT_PARTITION__/shard=10/x.parquet", None, None),
        ];
        let columns = path_columns(&files, &fields()).unwrap();
        let state = template().unwrap();
        let meets = |filter: Expr| {
            assert!(is_of_path(&filter, &fields()), "{filter}");
            meets_all(&state, &[filter], &fields(), &columns, 3).unwrap()
        };
        assert_eq!(meets(col("tenant").eq(lit("a b"))), [true, false, false]);
        assert_eq!(meets(col("tenant").not_eq(lit("a b"))), [false, true, false]);
        assert_eq!(meets(col("tenant").is_null()), [false, false, true]);
        assert_eq!(meets(col("shard").gt(lit(1_i32))), [false, true, true]);
        assert_eq!(meets(col("tenant").like(lit("%b"))), [true, false, false]);
        let by_row = col("n").gt(lit(1)).or(col("tenant").eq(lit("c")));
        assert!(!is_of_path(&by_row, &fields()));
        assert!(!is_of_path(&col("tenant").eq(lit("c")), &[]));
    }

    #[test]
    fn files_are_left_out_by_time_only_where_the_column_is_certain() {
        let files = [
            file("1", Some((0, 10)), Some("start")),
            file("2", Some((20, 30)), Some("start")),
            file("3", Some((0, 10)), Some("other")),
            file("4", Some((0, 10)), None),
            file("5", None, Some("start")),
        ];
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("start", utc_type(), true),
            Field::new("n", DataType::Int64, true),
        ]));
        let state = template().unwrap();
        let at = |us| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
        let kept = |filter| may_meet(&state, &[filter], &schema, &files);
        assert_eq!(kept(col("start").gt_eq(at(15))), [false, true, true, true, true]);
        assert_eq!(kept(col("start").lt(at(5))), [true, false, true, true, true]);
        assert_eq!(kept(col("n").lt(lit(5_i64))), [true; 5]);
        assert_eq!(kept(col("start").is_null()), [true; 5]);
    }
}
