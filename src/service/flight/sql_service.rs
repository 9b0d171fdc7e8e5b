//! The commands of Flight SQL that are answered, each by one call into the parts that know.

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt,
    SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tonic::{Request, Response, Status};

use super::error::QueryError;
use super::keys::{foreign_keys_schema, primary_keys_schema};
use super::metadata;
use super::prepared::{PARAMETERS_BYTES_MAX, Question, too_long};
use super::queries::Queries;

/// Messages of parameters beyond this are not read: a schema and a row are two.
const PARAMETER_MESSAGES_MAX: usize = 64;

const READ_ONLY: &str = "nothing can be changed here; ask for rows with a query";

type Info = Result<Response<FlightInfo>, Status>;
type Rows = Result<Response<<FlightSql as FlightService>::DoGetStream>, Status>;

/// Answers the commands of Flight SQL.
pub(super) struct FlightSql {
    queries: Queries,
    sql_info: SqlInfoData,
    types: XdbcTypeInfoData,
}

impl FlightSql {
    /// Answers with the rows of `queries`.
    pub(super) fn new(queries: Queries) -> Result<Self, QueryError> {
        Ok(Self { queries, sql_info: metadata::sql_info()?, types: metadata::types()? })
    }

    async fn answer(&self, question: &Question) -> Rows {
        Ok(Response::new(self.queries.run(question).await?.boxed()))
    }
}

/// One endpoint without an address: the rows are where the info came from.
fn info(schema: &Schema, ticket: Bytes, descriptor: FlightDescriptor) -> Info {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(info.with_endpoint(endpoint).with_descriptor(descriptor)))
}

/// The info of a command that is its own ticket.
fn own_info(
    command: &impl ProstMessageExt,
    schema: &Schema,
    request: Request<FlightDescriptor>,
) -> Info {
    info(schema, command.as_any().encode_to_vec().into(), request.into_inner())
}

fn rows_of(batch: RecordBatch) -> Rows {
    Ok(encoded(batch.schema(), futures::stream::iter([Ok(batch)])))
}

fn no_rows(schema: SchemaRef) -> Rows {
    Ok(encoded(schema, futures::stream::empty()))
}

fn encoded(
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> Response<<FlightSql as FlightService>::DoGetStream> {
    let messages = FlightDataEncoderBuilder::new().with_schema(schema).build(rows);
    Response::new(messages.map_err(Status::from).boxed())
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let message: IpcMessage =
        SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into().map_err(
            |error: datafusion::arrow::error::ArrowError| Status::internal(error.to_string()),
        )?;
    Ok(message.0)
}

/// The messages that a client sends, as far as a row of parameters may be long.
async fn messages(mut data: PeekableFlightDataStream) -> Result<Vec<(Bytes, Bytes)>, QueryError> {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while let Some(message) = data.try_next().await.map_err(FlightError::from)? {
        bytes += message.data_header.len() + message.data_body.len();
        if bytes > PARAMETERS_BYTES_MAX || messages.len() >= PARAMETER_MESSAGES_MAX {
            return Err(too_long(bytes));
        }
        messages.push((message.data_header, message.data_body));
    }
    Ok(messages)
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = FlightSql;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let question = Question::new(query.query);
        let declared = self.queries.declare(&question).await?;
        let Some(schema) = declared.rows else {
            return Err(Status::invalid_argument(
                "the statement has parameters; prepare it and bind a row of values",
            ));
        };
        let ticket = TicketStatementQuery { statement_handle: question.encode()? };
        own_info(&ticket, &schema, request)
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, _: Request<Ticket>) -> Rows {
        self.answer(&Question::decode(&ticket.statement_handle)?).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let question = Question::new(query.query);
        let declared = self.queries.declare(&question).await?;
        let rows = declared.rows.map(|schema| ipc(&schema)).transpose()?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: question.encode()?,
            dataset_schema: rows.unwrap_or_default(),
            parameter_schema: ipc(&declared.parameters)?,
        })
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let question = Question::decode(&query.prepared_statement_handle)?;
        let messages = self.queries.in_time(messages(request.into_inner())).await?;
        let handle = question.bind(&messages)?.encode()?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let question = Question::decode(&query.prepared_statement_handle)?;
        let declared = self.queries.declare(&question).await?;
        let schema = declared.rows.unwrap_or_else(|| Schema::empty().into());
        own_info(&query, &schema, request)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _: Request<Ticket>,
    ) -> Rows {
        self.answer(&Question::decode(&query.prepared_statement_handle)?).await
    }

    /// Nothing is kept, so that there is nothing to close.
    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let schema = query.into_builder().schema();
        own_info(&query, &schema, request)
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _: Request<Ticket>) -> Rows {
        rows_of(metadata::catalogs(query)?)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let schema = query.clone().into_builder().schema();
        own_info(&query, &schema, request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, _: Request<Ticket>) -> Rows {
        rows_of(metadata::schemas(query)?)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let schema = query.clone().into_builder().schema();
        own_info(&query, &schema, request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, _: Request<Ticket>) -> Rows {
        rows_of(metadata::tables(query, &self.queries.catalog()?)?)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let schema = query.into_builder().schema();
        own_info(&query, &schema, request)
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _: Request<Ticket>) -> Rows {
        rows_of(metadata::table_types(query)?)
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Info {
        own_info(&query, &self.sql_info.schema(), request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _: Request<Ticket>) -> Rows {
        rows_of(query.into_builder(&self.sql_info).build().map_err(QueryError::from)?)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Info {
        own_info(&query, &self.types.schema(), request)
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        _: Request<Ticket>,
    ) -> Rows {
        rows_of(query.into_builder(&self.types).build().map_err(QueryError::from)?)
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        own_info(&query, &primary_keys_schema(), request)
    }

    async fn do_get_primary_keys(&self, _: CommandGetPrimaryKeys, _: Request<Ticket>) -> Rows {
        no_rows(primary_keys_schema())
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        own_info(&query, &foreign_keys_schema(), request)
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, _: Request<Ticket>) -> Rows {
        no_rows(foreign_keys_schema())
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        own_info(&query, &foreign_keys_schema(), request)
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, _: Request<Ticket>) -> Rows {
        no_rows(foreign_keys_schema())
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Info {
        own_info(&query, &foreign_keys_schema(), request)
    }

    async fn do_get_cross_reference(
        &self,
        _: CommandGetCrossReference,
        _: Request<Ticket>,
    ) -> Rows {
        no_rows(foreign_keys_schema())
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::invalid_argument(READ_ONLY))
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::invalid_argument(READ_ONLY))
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::invalid_argument(READ_ONLY))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
