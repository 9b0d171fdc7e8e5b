//! The rows of a partitioned sink that one task has, brought together by partition before anything
//! is written: one file a value and epoch, however its rows arrive.
//!
//! ```text
//!  batches --> number of each row's folder --> held in memory, while the pool has room
//!                                          \-> else sorted by number into a spill file
//!  at the end: held rows and spill files, number by number --> encode --> store, many at once
//! ```
//!
//! Numbers are given as values come, so every spill file is in their order, and one pass over all of
//! them at once finds the rows of each value. A value keeps the order of its rows.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::interleave_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{Result as PlanResult, internal_err};
use datafusion::execution::SpillFile;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use parking_lot::Mutex;
use tidegauge_commitlog::SinkFile;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::parquet::{FILE_BYTES_MAX, FilePlace};
use super::partition::Partitioner;
use super::task_files::TaskFiles;
use super::writer::SinkTarget;
use crate::error::{Error, Result, from_datafusion};

/// Files that are encoded and stored at the same time: storing waits for the network or the disk,
/// and 3,000 files at 40 ms take 2 s with so many in flight.
const FILES_IN_FLIGHT: u32 = 64;
/// A file counts as one of them for each of these bytes of rows, so that all of them hold at most
/// as much memory as so many times this.
const BYTES_IN_FLIGHT: usize = 1024 * 1024;
/// More rows of one value than this are encoded as they are read, not kept for later.
const CHUNK_BYTES_MAX: usize = 8 * 1024 * 1024;
const CHUNK_ROWS: usize = 8_192;
/// What is kept of a row beside its values: the number of its folder, and its place.
const ROW_BYTES: usize = size_of::<u32>() + size_of::<Place>();

/// The rows of one sink.
#[derive(Debug)]
pub(super) struct Gather {
    place: FilePlace,
    schema: SchemaRef,
    partition_by: Vec<String>,
    env: Arc<RuntimeEnv>,
    gathered: Mutex<Gathered>,
}

#[derive(Debug)]
struct Gathered {
    partitioner: Partitioner,
    held: Held,
    memory: RecordBatchMemoryCounter,
    reservation: MemoryReservation,
    spills: Vec<Spilled>,
    /// How many rows are held.
    rows: usize,
    /// A value of which more is held is written.
    value_bytes_max: usize,
    /// About their bytes, by number of their folder.
    bytes: Vec<usize>,
    done: Vec<SinkFile>,
}

/// A spill file, which is gone with this value.
struct Spilled(Arc<dyn SpillFile>);

/// A row: its batch, and its position in it.
type Place = (u32, u32);

/// Rows in memory.
#[derive(Debug, Default)]
struct Held {
    batches: Vec<RecordBatch>,
    numbers: Vec<Vec<u32>>,
}

impl Gather {
    pub(super) fn new(target: &SinkTarget, env: &Arc<RuntimeEnv>) -> Result<Self> {
        let partitioner =
            Partitioner::new(&target.schema, &target.partition_by).map_err(from_datafusion)?;
        let schema = partitioner.file_schema(&target.schema).map_err(from_datafusion)?;
        let consumer = MemoryConsumer::new(format!("rows of {}", target.sink)).with_can_spill(true);
        let gathered = Gathered {
            partitioner,
            held: Held::default(),
            memory: RecordBatchMemoryCounter::new(),
            reservation: consumer.register(&env.memory_pool),
            spills: vec![],
            rows: 0,
            value_bytes_max: FILE_BYTES_MAX,
            bytes: vec![],
            done: vec![],
        };
        Ok(Self {
            place: target.place(schema),
            schema: Arc::clone(&target.schema),
            partition_by: target.partition_by.clone(),
            env: Arc::clone(env),
            gathered: Mutex::new(gathered),
        })
    }

    /// Whether rows of `target` may be in one file with those that are here.
    pub(super) fn takes(&self, target: &SinkTarget) -> bool {
        self.place.sink == target.sink
            && self.place.folder == target.folder
            && self.schema == target.schema
            && self.partition_by == target.partition_by
    }

    /// Takes the rows of `batch`. A value that has come to a whole file is written.
    pub(super) async fn write(&self, batch: &RecordBatch, files: &TaskFiles) -> Result<()> {
        let full = self.gathered.lock().push(batch, &self.env).map_err(from_datafusion)?;
        if let Some((folder, rows)) = full {
            let done = self.place.store_all(&folder, None, rows, files).await?;
            self.gathered.lock().done.extend(done);
        }
        Ok(())
    }

    /// Writes what is here, and gives all files.
    pub(super) async fn finish(&self, files: &TaskFiles) -> Result<Vec<SinkFile>> {
        let (runs, folders, mut done, _reserved) =
            self.gathered.lock().take().map_err(from_datafusion)?;
        done.extend(self.write_runs(runs, &folders, files).await?);
        done.sort_by(|a, b| a.published.cmp(&b.published));
        Ok(done)
    }

    async fn write_runs(
        &self,
        runs: Vec<Run>,
        folders: &[Arc<str>],
        files: &TaskFiles,
    ) -> Result<Vec<SinkFile>> {
        let (mut tasks, mut done) = (JoinSet::new(), Vec::new());
        let spawning = self.spawn_all(runs, folders, files, &mut tasks, &mut done).await;
        let mut first = spawning.err();
        // What is under way ends before this does: nothing is written once it has failed.
        while let Some(stored) = tasks.join_next().await {
            match joined(stored) {
                Ok(files) => done.extend(files),
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(done), Err)
    }

    /// Hands each value to a task of its own, as far as there is room.
    async fn spawn_all(
        &self,
        mut runs: Vec<Run>,
        folders: &[Arc<str>],
        files: &TaskFiles,
        tasks: &mut JoinSet<Result<Vec<SinkFile>>>,
        done: &mut Vec<SinkFile>,
    ) -> Result<()> {
        let room = Arc::new(Semaphore::new(FILES_IN_FLIGHT as usize));
        for (number, folder) in (0_u32..).zip(folders) {
            let (mut rows, mut bytes, mut open) = (Vec::new(), 0, None);
            for run in &mut runs {
                while let Some((chunk, more)) = run.next_of(number).map_err(from_datafusion)? {
                    rows.push(chunk);
                    bytes += more;
                    if bytes > CHUNK_BYTES_MAX {
                        let rows = std::mem::take(&mut rows);
                        let appended = self.place.append_all(folder, open, rows, files).await?;
                        done.extend(appended.0);
                        (open, bytes) = (appended.1, 0);
                    }
                }
            }
            if rows.is_empty() && open.is_none() {
                continue;
            }
            let permits = u32::try_from(bytes / BYTES_IN_FLIGHT + 1).unwrap_or(u32::MAX);
            let permit = Arc::clone(&room).acquire_many_owned(permits.min(FILES_IN_FLIGHT)).await;
            let permit =
                permit.map_err(|error| Error::bug("no room is left").with_source(error))?;
            let (place, folder, files) = (self.place.clone(), Arc::clone(folder), files.clone());
            tasks.spawn(async move {
                let _permit = permit;
                place.store_all(&folder, open, rows, &files).await
            });
            while let Some(stored) = tasks.try_join_next() {
                done.extend(joined(stored)?);
            }
        }
        Ok(())
    }
}

fn joined(
    stored: std::result::Result<Result<Vec<SinkFile>>, tokio::task::JoinError>,
) -> Result<Vec<SinkFile>> {
    stored.map_err(|error| Error::bug("a sink's task stopped").with_source(error))?
}

impl Gathered {
    /// Keeps the rows of `batch`; gives those of a value that has come to a whole file.
    fn push(
        &mut self,
        batch: &RecordBatch,
        env: &RuntimeEnv,
    ) -> PlanResult<Option<(Arc<str>, Vec<RecordBatch>)>> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let (rows, numbers) = self.partitioner.number(batch)?;
        let kept = self.memory.count_batch(&rows) + rows.num_rows() * ROW_BYTES;
        if self.reservation.try_grow(kept).is_err() {
            self.spill(env)?;
            // What does not fit alone is kept all the same: the next batch spills it.
            let kept = self.memory.count_batch(&rows) + rows.num_rows() * ROW_BYTES;
            self.reservation.grow(kept);
        }
        self.rows += rows.num_rows();
        let row_bytes = self.memory.memory_usage() / self.rows;
        self.bytes.resize(self.partitioner.folders().len(), 0);
        let mut full = None;
        for &number in &numbers {
            let bytes = &mut self.bytes[number as usize];
            *bytes += row_bytes;
            if *bytes > self.value_bytes_max {
                full = Some(number);
            }
        }
        self.held.batches.push(rows);
        self.held.numbers.push(numbers);
        full.map(|number| self.take_value(number)).transpose()
    }

    /// Takes the rows of one value out of what is held.
    fn take_value(&mut self, number: u32) -> PlanResult<(Arc<str>, Vec<RecordBatch>)> {
        let held = std::mem::take(&mut self.held);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        self.memory = RecordBatchMemoryCounter::new();
        for (batch, numbers) in held.batches.into_iter().zip(held.numbers) {
            let of = |is_taken: bool| {
                let rows = numbers.iter().zip(0_u32..);
                let places = rows.filter(|(of, _)| (**of == number) == is_taken);
                places.map(|(_, at)| (0, at as usize)).collect::<Vec<(usize, usize)>>()
            };
            let (mine, others) = (of(true), of(false));
            if mine.is_empty() || others.is_empty() {
                match mine.is_empty() {
                    false => taken.push(batch),
                    true => {
                        bytes += self.memory.count_batch(&batch) + numbers.len() * ROW_BYTES;
                        self.held.batches.push(batch);
                        self.held.numbers.push(numbers);
                    }
                }
                continue;
            }
            taken.push(interleave_record_batch(&[&batch], &mine)?);
            let rest = interleave_record_batch(&[&batch], &others)?;
            bytes += self.memory.count_batch(&rest) + others.len() * ROW_BYTES;
            self.held.batches.push(rest);
            self.held.numbers.push(others.iter().map(|(_, at)| numbers[*at]).collect());
        }
        self.rows = self.held.numbers.iter().map(Vec::len).sum();
        self.bytes[number as usize] = 0;
        self.reservation.resize(bytes);
        Ok((Arc::clone(&self.partitioner.folders()[number as usize]), taken))
    }

    /// Writes what is held into a file, by number.
    fn spill(&mut self, env: &RuntimeEnv) -> PlanResult<()> {
        let held = std::mem::take(&mut self.held);
        self.memory = RecordBatchMemoryCounter::new();
        (self.rows, self.bytes) = (0, vec![]);
        if held.batches.is_empty() {
            return Ok(());
        }
        let spilled = env.disk_manager.create_tmp_file("rows of a sink")?;
        let mut sorted = Sorted::new(held, self.partitioner.folders().len());
        let file = BufWriter::new(spilled.open_writer()?);
        let mut writer = StreamWriter::try_new(file, &numbered(&sorted.batches[0].schema()))?;
        while let Some(chunk) = sorted.next()? {
            writer.write(&chunk)?;
        }
        writer.finish()?;
        let file = writer.into_inner()?.into_inner().map_err(|error| error.into_error());
        file?.finish()?;
        self.spills.push(Spilled(spilled));
        self.reservation.free();
        Ok(())
    }

    /// Everything that is here, to be read number by number. What holds its memory comes with it.
    #[allow(clippy::type_complexity)] // Taken apart where it is made.
    fn take(&mut self) -> PlanResult<(Vec<Run>, Vec<Arc<str>>, Vec<SinkFile>, MemoryReservation)> {
        let mut runs = Vec::new();
        for spilled in std::mem::take(&mut self.spills) {
            let reader = StreamReader::try_new(BufReader::new(spilled.open()?), None)?;
            let rows = Rows::Spilled { reader, _spilled: spilled };
            runs.push(Run { rows, chunk: None });
        }
        let folders = self.partitioner.folders().to_vec();
        let held = std::mem::take(&mut self.held);
        if !held.batches.is_empty() {
            runs.push(Run { rows: Rows::Held(Sorted::new(held, folders.len())), chunk: None });
        }
        let (done, reserved) = (std::mem::take(&mut self.done), self.reservation.take());
        Ok((runs, folders, done, reserved))
    }
}

impl Spilled {
    fn open(&self) -> PlanResult<File> {
        match self.0.path() {
            Some(path) => Ok(File::open(path)?),
            None => internal_err!("a spill file is no file"),
        }
    }
}

impl fmt::Debug for Spilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spilled").field(&self.0.path()).finish()
    }
}

/// Rows by number, from wherever they are.
struct Run {
    rows: Rows,
    /// What was read and not given yet: rows, with their numbers as a last column.
    chunk: Option<RecordBatch>,
}

enum Rows {
    Held(Sorted),
    Spilled {
        reader: StreamReader<BufReader<File>>,
        /// Keeps the file.
        _spilled: Spilled,
    },
}

impl Run {
    /// The next rows of `number`, which never falls from call to call, and about their bytes.
    fn next_of(&mut self, number: u32) -> PlanResult<Option<(RecordBatch, usize)>> {
        let chunk = match self.chunk.take() {
            Some(chunk) => chunk,
            None => match self.rows.next()? {
                Some(chunk) => chunk,
                None => return Ok(None),
            },
        };
        let last = chunk.num_columns() - 1;
        let numbers = chunk.column(last).as_primitive::<UInt32Type>().values();
        let count = numbers.partition_point(|&of| of <= number);
        let rows = chunk.num_rows();
        let given = match count {
            0 => None,
            count => {
                let columns: Vec<usize> = (0..last).collect();
                let bytes = chunk.get_array_memory_size() / rows * count;
                Some((chunk.slice(0, count).project(&columns)?, bytes))
            }
        };
        self.chunk = (count < rows).then(|| chunk.slice(count, rows - count));
        Ok(given)
    }
}

impl Rows {
    fn next(&mut self) -> PlanResult<Option<RecordBatch>> {
        match self {
            Self::Held(sorted) => sorted.next(),
            Self::Spilled { reader, .. } => Ok(reader.next().transpose()?),
        }
    }
}

/// Rows in memory, in the order of their numbers.
struct Sorted {
    batches: Vec<RecordBatch>,
    /// The rows of number `n` are those from `starts[n]` to `starts[n + 1]`.
    starts: Vec<usize>,
    order: Vec<Place>,
    at: usize,
}

impl Sorted {
    /// Counts the rows of each number, then puts each row where it belongs: rows of one number stay
    /// in their order.
    fn new(held: Held, numbers: usize) -> Self {
        let mut starts = vec![0; numbers + 1];
        for number in held.numbers.iter().flatten() {
            starts[*number as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![(0, 0); starts[numbers]];
        for (batch, numbers) in (0_u32..).zip(&held.numbers) {
            for (row, number) in (0_u32..).zip(numbers) {
                let slot = &mut next[*number as usize];
                order[*slot] = (batch, row);
                *slot += 1;
            }
        }
        Self { batches: held.batches, starts, order, at: 0 }
    }

    /// The next rows, with their numbers as a last column.
    fn next(&mut self) -> PlanResult<Option<RecordBatch>> {
        let to = self.order.len().min(self.at + CHUNK_ROWS);
        if self.at >= to {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let places = self.order[self.at..to].iter();
        let places: Vec<(usize, usize)> =
            places.map(|(batch, row)| (*batch as usize, *row as usize)).collect();
        let rows = interleave_record_batch(&batches, &places)?;
        let numbers = (self.at..to).map(|at| self.starts.partition_point(|&start| start <= at) - 1);
        let numbers = numbers.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(numbers));
        let columns = rows.columns().iter().cloned().chain([numbers]);
        self.at = to;
        Ok(Some(RecordBatch::try_new(numbered(&rows.schema()), columns.collect())?))
    }
}

/// The columns of `schema`, and the number of the row's folder.
fn numbered(schema: &Schema) -> SchemaRef {
    let number = Field::new("number of the folder", DataType::UInt32, false);
    let fields = schema.fields().iter().map(|field| Field::clone(field)).chain([number]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests;
