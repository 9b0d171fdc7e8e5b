"""Shows what two outside clients see of a service: ADBC, and bare Arrow Flight.

    flight_clients.py grpc://HOST:PORT
"""

import sys

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import pyarrow
import pyarrow.flight as flight


def main(address: str) -> None:
    with flight_sql.connect(address, autocommit=True) as connection:
        adbc(connection)
    with flight.connect(address.replace("grpc://", "grpc+tcp://")) as client:
        bare_flight(client)


def adbc(connection) -> None:
    info = connection.adbc_get_info()
    print(f"adbc: {info['vendor_name']}")
    objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    for catalog in objects:
        for schema in catalog["catalog_db_schemas"]:
            for table in schema["db_schema_tables"]:
                print(f"  {catalog['catalog_name']}.{schema['db_schema_name']}."
                      f"{table['table_name']}: {table['table_type']}")
    print(f"  types: {connection.adbc_get_table_types()}")
    for field in connection.adbc_get_table_schema("host_minutes", db_schema_filter="results"):
        print(f"  results.host_minutes {field}")
    with connection.cursor() as cursor:
        statement = "SELECT host, bytes FROM host_minutes WHERE tenant = ? AND host < ? ORDER BY host"
        for values in [("b c", "h2"), ("a", "h1"), ("nobody", "h9")]:
            cursor.execute(statement, parameters=values)
            print(f"  {values}: {cursor.fetchall()}")
        numbered = "SELECT sum(bytes) + $2 FROM live.host_minutes WHERE tenant = $1"
        cursor.execute(numbered, parameters=("a", 7))
        print(f"  sum: {cursor.fetchone()}")
        described = cursor.adbc_prepare(numbered)
        print(f"  parameters: {[str(field) for field in described]}")
        for wrong in [("DROP TABLE results.large", None), (numbered, ("a",)),
                      ("SELECT nothing FROM large", None)]:
            try:
                cursor.execute(wrong[0], parameters=wrong[1])
                print(f"  {wrong} is answered: {cursor.fetchall()}")
            except adbc_driver_manager.Error as error:
                print(f"  {type(error).__name__}: {error}")
        try:
            cursor.adbc_statement.set_sql_query("DELETE FROM large")
            print(f"  deleted: {cursor.adbc_statement.execute_update()}")
        except adbc_driver_manager.Error as error:
            print(f"  {type(error).__name__}: {error}")


def bare_flight(client) -> None:
    tables = read(client, command("CommandGetTables", number(5, 1)))
    for row in tables.to_pylist():
        columns = pyarrow.ipc.read_schema(pyarrow.py_buffer(row["table_schema"])).names
        print(f"flight: {row['db_schema_name']}.{row['table_name']}: {', '.join(columns)}")
    statement = command("CommandStatementQuery", text(
        1, "SELECT tenant, concat('to ', host) AS who, sum(bytes) AS bytes FROM host_minutes "
           "GROUP BY tenant, host ORDER BY tenant, host LIMIT 2"))
    descriptor = flight.FlightDescriptor.for_command(statement)
    declared = client.get_schema(descriptor).schema
    rows = read(client, statement)
    assert declared.equals(rows.schema), f"{declared} is not {rows.schema}"
    print(f"  {rows.to_pylist()}")
    for name in ["CommandGetCatalogs", "CommandGetDbSchemas", "CommandGetSqlInfo",
                 "CommandGetXdbcTypeInfo"]:
        print(f"  {name}: {read(client, command(name, b'')).num_rows} rows")
    keys = read(client, command("CommandGetPrimaryKeys", text(3, "large")))
    print(f"  keys: {keys.num_rows} of {keys.column_names}")


def read(client, what: bytes):
    info = client.get_flight_info(flight.FlightDescriptor.for_command(what))
    rows = client.do_get(info.endpoints[0].ticket).read_all()
    assert info.schema.equals(rows.schema), f"{info.schema} is not {rows.schema}"
    return rows


def command(name: str, body: bytes) -> bytes:
    """A protobuf Any, by hand: its two fields are all that there is."""
    return text(1, f"type.googleapis.com/arrow.flight.protocol.sql.{name}") + data(2, body)


def text(field: int, value: str) -> bytes:
    return data(field, value.encode())


def data(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2]) + varint(len(value)) + value


def number(field: int, value: int) -> bytes:
    return bytes([field << 3]) + varint(value)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


if __name__ == "__main__":
    main(sys.argv[1])
