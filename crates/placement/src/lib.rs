//! Clusters and placements as folders of CSV files, and clusters as JSON.
//!
//! A cluster is `brokers.csv` (`id,rack,state,cap_cpu,cap_nw_in,cap_nw_out,cap_disk`, the state `ALIVE` or `DEAD`) and
//! `replicas.csv.gz`, or `replicas.csv` where there is no such file
//! (`topic,partition,position,broker,leader,cpu,nw_in,nw_out,disk,fcpu,fnw_out`, one line per replica in order of
//! position, partitions together; the last two are CPU and outbound network if it follows). A placement is
//! `topic,partition,replicas,leader`, brokers joined by `|`. CPU is in percent, network in KB/s, disk in MB.

mod generate;
mod json;
mod outcome;

pub use generate::{Shape, generate};
pub use json::read_json;
pub use outcome::{Outcome, Reassignment, outcome, write_placement};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use planner::balance::{Broker, Cluster, ClusterError, Loads, Mark, Partition, Replica};

/// What went wrong with a folder.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not as described.
    #[error("{path}, line {line}, column {column}: {what}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character, from 1, at which the field begins that is wrong.
        column: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A file is not JSON, or not as described.
    #[error("{path}: {what}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What a line says is not possible.
    #[error("{path}, line {line}")]
    Cluster {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: ClusterError,
    },
}

/// A cluster with the names that the planner does not know.
#[derive(Debug, Clone)]
pub struct Named {
    /// The cluster.
    pub cluster: Cluster,
    /// Broker ids by ordinal.
    pub broker_ids: Vec<i32>,
    /// Names of brokers' racks, by broker. Where a broker names none: of what it is one by itself, such as `of host h1`.
    pub racks: Vec<String>,
    /// Topic names by number.
    pub topics: Vec<String>,
    /// Partition numbers by ordinal.
    pub partitions: Vec<i32>,
    /// Paths of each broker's [`Cluster::log_dirs`], in their order. Of brokers behind the end none are known.
    pub log_dirs: Vec<Vec<String>>,
}

impl Named {
    /// The path of a log dir by its place among the broker's.
    pub fn log_dir(&self, broker: u32, dir: u32) -> Option<&str> {
        self.log_dirs.get(broker as usize)?.get(dir as usize).map(String::as_str)
    }
}

impl Named {
    /// The name of a rack by the number that the cluster has for it.
    pub fn rack_name(&self, rack: u32) -> Option<&str> {
        let broker = self.cluster.brokers().iter().position(|broker| broker.rack == rack)?;
        self.racks.get(broker).map(String::as_str)
    }
}

/// Parts of a percent, KB/s and MB that make one of the planner's units: a billion for CPU, a million for the others.
const SCALE: [f64; 4] = [1e9, 1e6, 1e6, 1e6];

/// A figure of one resource, as the files have it, in the planner's units; nothing where it is negative or too large.
pub fn fixed_point(resource: usize, figure: f64) -> Option<i64> {
    let scaled = (figure * SCALE[resource]).round();
    (0.0..1e17).contains(&scaled).then_some(scaled as i64)
}

/// The same back: units of the planner as the files have them.
pub fn figure(resource: usize, units: i128) -> f64 {
    units as f64 / SCALE[resource]
}

struct Lines {
    path: PathBuf,
    line: usize,
    reader: Box<dyn BufRead>,
    text: String,
}

impl Lines {
    fn open(path: PathBuf) -> Result<Lines, PlacementError> {
        let file = File::open(&path).map_err(|source| PlacementError::Read { path: path.clone(), source })?;
        let zipped = path.extension().is_some_and(|extension| extension == "gz");
        let reader: Box<dyn BufRead> = if zipped {
            Box::new(BufReader::new(GzDecoder::new(file)))
        } else {
            Box::new(BufReader::new(file))
        };
        Ok(Lines { path, line: 0, reader, text: String::new() })
    }

    /// The next line that is not empty.
    fn next(&mut self) -> Result<bool, PlacementError> {
        loop {
            self.text.clear();
            self.line += 1;
            let read = self.reader.read_line(&mut self.text);
            let read = read.map_err(|source| PlacementError::Read {
                path: self.path.clone(),
                source: std::io::Error::new(source.kind(), format!("line {}: {source}", self.line)),
            })?;
            if read == 0 || !self.text.trim().is_empty() {
                return Ok(read > 0);
            }
        }
    }

    /// Reads the first line, which names the columns.
    fn header(&mut self, columns: &str) -> Result<(), PlacementError> {
        self.next()?;
        // Spreadsheets put a mark of the encoding first.
        let found = self.text.trim_end().trim_start_matches('\u{feff}').replace('"', "");
        if found == columns {
            Ok(())
        } else {
            Err(self.bad_at(1, 1, format!("the columns are not {columns}")))
        }
    }

    fn fields<const N: usize>(&self) -> Result<[&str; N], PlacementError> {
        let line = self.text.trim_end();
        let mut fields = [""; N];
        let mut found = 0;
        for field in line.split(',') {
            if found < N {
                fields[found] = self.unquoted(field)?;
            }
            found += 1;
        }
        if found == N { Ok(fields) } else { Err(self.bad(line, format!("{found} fields instead of {N}"))) }
    }

    /// A field without the quotes that some programs put around it. No name and no number has a comma or a quote in it.
    fn unquoted<'f>(&self, field: &'f str) -> Result<&'f str, PlacementError> {
        if !field.contains('"') {
            return Ok(field);
        }
        let inside = field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inside.filter(|inside| !inside.contains('"')).ok_or_else(|| {
            self.bad(field, "a quoted field ends with a quote, and has no comma and no quote in it")
        })
    }

    /// The number of a partition.
    fn partition_number(&self, field: &str) -> Result<i32, PlacementError> {
        let number = self.number(field)?;
        if number < 0 {
            Err(self.bad(field, format!("partition {number}: Kafka's are 0 and up")))
        } else {
            Ok(number)
        }
    }

    /// The id of a broker.
    fn broker_id(&self, field: &str) -> Result<i32, PlacementError> {
        let id = self.number(field)?;
        if id < 0 { Err(self.bad(field, format!("broker id {id}: Kafka's are 0 and up"))) } else { Ok(id) }
    }

    /// What is wrong with a part of the line.
    fn bad(&self, field: &str, what: impl Into<String>) -> PlacementError {
        let start = (field.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let before = self.text.get(..start).unwrap_or_default();
        self.bad_at(self.line, before.chars().count() + 1, what)
    }

    fn bad_at(&self, line: usize, column: usize, what: impl Into<String>) -> PlacementError {
        PlacementError::Line { path: self.path.clone(), line, column, what: what.into() }
    }

    fn number<T: std::str::FromStr>(&self, field: &str) -> Result<T, PlacementError> {
        field.parse().map_err(|_| self.bad(field, format!("`{field}` is no number that fits here")))
    }

    fn load(&self, resource: usize, field: &str) -> Result<i64, PlacementError> {
        let figure = self.number(field)?;
        fixed_point(resource, figure).ok_or_else(|| self.bad(field, format!("{field} is out of range")))
    }

    fn refused(&self, line: usize, source: ClusterError) -> PlacementError {
        PlacementError::Cluster { path: self.path.clone(), line, source }
    }
}

struct Row {
    line: usize,
    key: (u32, i32),
    broker: u32,
    position: usize,
    leads: bool,
    load: Loads,
    leader_cpu: i64,
    leader_out: i64,
}

/// Reads the cluster of a folder.
///
/// # Errors
/// The first thing that is wrong with a file.
pub fn read_cluster(folder: &Path) -> Result<Named, PlacementError> {
    let (brokers, broker_ids, racks) = read_brokers(folder)?;
    let zipped = folder.join("replicas.csv.gz");
    let path = if zipped.exists() { zipped } else { folder.join("replicas.csv") };
    let mut lines = Lines::open(path)?;
    let (rows, topics) = read_rows(&mut lines, &broker_ids)?;
    let mut builder = Cluster::builder(topics.len() as u32);
    for broker in &brokers {
        builder.add_broker(broker).map_err(|source| lines.refused(1, source))?;
    }
    let mut partitions = Vec::new();
    let mut seen = BTreeSet::new();
    for group in rows.chunk_by(|one, other| one.key == other.key) {
        if !seen.insert(group[0].key) {
            let what = "the partition was named before: its lines stand together";
            return Err(lines.bad_at(group[0].line, 1, what));
        }
        let partition = partition(&lines, group)?;
        builder.add_partition(&partition).map_err(|source| match source {
            ClusterError::DuplicateReplica { broker } => {
                let what = format!("broker {} holds two replicas", broker_ids[broker as usize]);
                lines.bad_at(group[0].line, 1, what)
            }
            _ => lines.refused(group[0].line, source),
        })?;
        partitions.push(group[0].key.1);
    }
    let cluster = builder.build();
    Ok(Named { cluster, broker_ids, racks, topics, partitions, log_dirs: Vec::new() })
}

/// All replicas, and the names of topics in order of appearance.
fn read_rows(lines: &mut Lines, broker_ids: &[i32]) -> Result<(Vec<Row>, Vec<String>), PlacementError> {
    let ordinals: BTreeMap<i32, u32> =
        broker_ids.iter().zip(0..).map(|(id, ordinal)| (*id, ordinal)).collect();
    lines.header("topic,partition,position,broker,leader,cpu,nw_in,nw_out,disk,fcpu,fnw_out")?;
    let mut topics: Vec<String> = Vec::new();
    let mut topic_numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut rows: Vec<Row> = Vec::new();
    while lines.next()? {
        let [topic, partition, position, broker, leads, cpu, nw_in, nw_out, disk, fcpu, fout] =
            lines.fields()?;
        if topic.is_empty() {
            return Err(lines.bad(topic, "the topic has no name"));
        }
        if topic.chars().any(char::is_control) {
            // Names are shown on terminals.
            return Err(lines.bad(topic, "the topic's name has control characters"));
        }
        let number = match topic_numbers.get(topic) {
            Some(number) => *number,
            None => {
                let number = topics.len() as u32;
                topics.push(topic.to_owned());
                topic_numbers.insert(topic.to_owned(), number);
                number
            }
        };
        let known = ordinals.get(&lines.broker_id(broker)?);
        let broker = *known.ok_or_else(|| lines.bad(broker, format!("there is no broker {broker}")))?;
        let leads = match leads {
            "0" => false,
            "1" => true,
            _ => return Err(lines.bad(leads, "who leads is told by 1 and 0")),
        };
        let load = [lines.load(0, fcpu)?, lines.load(1, nw_in)?, lines.load(2, fout)?, lines.load(3, disk)?];
        let present = [lines.load(0, cpu)?, lines.load(2, nw_out)?];
        for (field, follows, is) in [(fcpu, load[0], present[0]), (fout, load[2], present[1])] {
            if leads && follows > is {
                return Err(lines.bad(field, "who leads does not take less than it would as a follower"));
            }
            if !leads && follows != is {
                return Err(lines.bad(field, "of a follower this is what it takes in its present role"));
            }
        }
        rows.push(Row {
            line: lines.line,
            key: (number, lines.partition_number(partition)?),
            broker,
            position: lines.number(position)?,
            leads,
            load,
            leader_cpu: present[0] - load[0],
            leader_out: present[1] - load[2],
        });
    }
    Ok((rows, topics))
}

/// The partition of lines that stand together.
fn partition(lines: &Lines, group: &[Row]) -> Result<Partition, PlacementError> {
    let bad = |row: &Row, what: &str| Err(lines.bad_at(row.line, 1, what));
    if let Some((_, row)) = (0..).zip(group).find(|(position, row)| row.position != *position) {
        return bad(row, "the positions of a partition are not 0, 1, 2 and so on");
    }
    let mut leading = group.iter().filter(|row| row.leads);
    let Some(leader) = leading.next() else {
        return bad(&group[0], "no replica of the partition leads");
    };
    if let Some(second) = leading.next() {
        return bad(second, "a second replica of the partition leads");
    }
    Ok(Partition {
        topic: group[0].key.0,
        replicas: group.iter().map(|row| Replica { broker: row.broker, load: row.load }).collect(),
        leader: leader.position as u32,
        leader_cpu: leader.leader_cpu,
        leader_network_out: leader.leader_out,
        frozen: false,
    })
}

/// Brokers, their ids and the names of their racks.
type Brokers = (Vec<Broker>, Vec<i32>, Vec<String>);

fn read_brokers(folder: &Path) -> Result<Brokers, PlacementError> {
    let mut lines = Lines::open(folder.join("brokers.csv"))?;
    let mut racks: BTreeMap<String, u32> = BTreeMap::new();
    let (mut brokers, mut ids, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let mut sums = Cluster::builder(0);
    lines.header("id,rack,state,cap_cpu,cap_nw_in,cap_nw_out,cap_disk")?;
    while lines.next()? {
        let [id, rack, state, cpu, nw_in, nw_out, disk] = lines.fields()?;
        let next = racks.len() as u32;
        let alive = match state {
            "ALIVE" => true,
            "DEAD" => false,
            _ => return Err(lines.bad(state, "the state is neither ALIVE nor DEAD")),
        };
        let broker = Broker {
            rack: *racks.entry(rack.to_owned()).or_insert(next),
            set: None,
            capacity: [
                lines.load(0, cpu)?,
                lines.load(1, nw_in)?,
                lines.load(2, nw_out)?,
                lines.load(3, disk)?,
            ],
            alive,
            takes_replicas: alive,
            takes_leadership: alive,
            mark: Mark::None,
        };
        // What the cluster will refuse is refused where it stands.
        sums.add_broker(&broker).map_err(|source| lines.refused(lines.line, source))?;
        brokers.push(broker);
        names.push(rack.to_owned());
        let number = lines.broker_id(id)?;
        if ids.contains(&number) {
            return Err(lines.bad(id, "the broker was named before"));
        }
        ids.push(number);
    }
    Ok((brokers, ids, names))
}
