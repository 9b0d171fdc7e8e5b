//! What clients ask before they query: schemas, tables, types, and what the server can do.

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, Nullable,
    Searchable, SqlInfo, SqlSupportedTransaction, XdbcDataType,
};
use datafusion::arrow::array::RecordBatch;

use super::catalog::Catalog;
use super::error::QueryError;
use super::session::{CATALOG, LIVE, RESULTS, SYSTEM};
use super::wire::wire_schema;

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";
const SYSTEM_TABLE: &str = "SYSTEM TABLE";

impl From<FlightError> for QueryError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Arrow(error) => Self::invalid(error.to_string()),
            error => Self::internal(error.to_string()),
        }
    }
}

/// The one catalog.
pub(super) fn catalogs(command: CommandGetCatalogs) -> Result<RecordBatch, QueryError> {
    let mut rows = command.into_builder();
    rows.append(CATALOG);
    Ok(rows.build()?)
}

/// The schemas that the command's pattern leaves.
pub(super) fn schemas(command: CommandGetDbSchemas) -> Result<RecordBatch, QueryError> {
    let mut rows = command.into_builder();
    for schema in [RESULTS, LIVE, SYSTEM] {
        rows.append(CATALOG, schema);
    }
    Ok(rows.build()?)
}

/// The tables that the command's patterns leave, with their columns where it asks for them.
pub(super) fn tables(
    command: CommandGetTables,
    catalog: &Catalog,
) -> Result<RecordBatch, QueryError> {
    let mut rows = command.into_builder();
    for (schema, name, table) in catalog.tables() {
        let kind = match schema {
            LIVE => VIEW,
            SYSTEM => SYSTEM_TABLE,
            _ => TABLE,
        };
        rows.append(CATALOG, schema, name, kind, &wire_schema(&table.schema()))?;
    }
    Ok(rows.build()?)
}

/// The kinds of tables.
pub(super) fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch, QueryError> {
    let mut rows = command.into_builder();
    for kind in [TABLE, VIEW, SYSTEM_TABLE] {
        rows.append(kind);
    }
    Ok(rows.build()?)
}

/// What the server is and can do.
pub(super) fn sql_info() -> Result<SqlInfoData, QueryError> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "tidegauge");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    Ok(info.build()?)
}

/// The types that columns have, by their names in SQL.
pub(super) fn types() -> Result<XdbcTypeInfoData, QueryError> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, column_size) in [
        ("BOOLEAN", XdbcDataType::XdbcBit, 1),
        ("TINYINT", XdbcDataType::XdbcTinyint, 3),
        ("SMALLINT", XdbcDataType::XdbcSmallint, 5),
        ("INTEGER", XdbcDataType::XdbcInteger, 10),
        ("BIGINT", XdbcDataType::XdbcBigint, 19),
        ("REAL", XdbcDataType::XdbcReal, 7),
        ("DOUBLE", XdbcDataType::XdbcDouble, 15),
        ("DECIMAL", XdbcDataType::XdbcDecimal, 38),
        ("DATE", XdbcDataType::XdbcDate, 10),
        ("TIMESTAMP", XdbcDataType::XdbcTimestamp, 32),
        ("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX),
    ] {
        let quote = matches!(name, "VARCHAR" | "DATE" | "TIMESTAMP").then(|| "'".to_owned());
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type,
            sql_data_type: data_type,
            column_size: Some(column_size),
            literal_prefix: quote.clone(),
            literal_suffix: quote,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: name == "VARCHAR",
            searchable: Searchable::Full,
            ..XdbcTypeInfo::default()
        });
    }
    Ok(types.build()?)
}
