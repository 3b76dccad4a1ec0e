//! Numbers that were read for one scrape, on their way into the text.

use std::{borrow::Cow, fmt};

use amoiq_events::histogram::BucketCounts;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// Numbers, in the order in which they were put down.
#[derive(Debug, Default)]
pub struct Sheet(Vec<Family>);

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    Counter(Vec<Series>),
    Gauge(Vec<Series>),
    Histogram { counts: BucketCounts, in_unit: f64 },
}

/// A number, and the label that tells it from the others of its name.
#[derive(Debug)]
struct Series {
    label: Option<(&'static str, Cow<'static, str>)>,
    value: f64,
}

impl Sheet {
    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Number) {
        self.put(name, help, Numbers::Gauge(vec![Series { label: None, value: value.to_f64() }]));
    }

    /// The same, by a label.
    pub fn gauges<L: Into<Cow<'static, str>>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (L, impl Number)>,
    ) {
        self.put(name, help, Numbers::Gauge(series(label, values)));
    }

    /// A number that only goes up; its name is without `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: impl Number) {
        self.put(name, help, Numbers::Counter(vec![Series { label: None, value: value.to_f64() }]));
    }

    /// The same, by a label.
    pub fn counters<L: Into<Cow<'static, str>>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (L, impl Number)>,
    ) {
        self.put(name, help, Numbers::Counter(series(label, values)));
    }

    /// How values are distributed; so many of them are one of the metric's unit: a million microseconds.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, counts: BucketCounts, in_unit: f64) {
        self.put(name, help, Numbers::Histogram { counts, in_unit });
    }

    fn put(&mut self, name: &'static str, help: &'static str, numbers: Numbers) {
        self.0.push(Family { name, help, numbers });
    }
}

fn series<L: Into<Cow<'static, str>>>(
    label: &'static str,
    values: impl IntoIterator<Item = (L, impl Number)>,
) -> Vec<Series> {
    let one = |(of, value): (L, _)| Series { label: Some((label, of.into())), value: Number::to_f64(value) };
    values.into_iter().map(one).collect()
}

/// Whatever counts as a number.
pub trait Number {
    /// Exact up to 2^53, which no counter of one process reaches.
    fn to_f64(self) -> f64;
}

impl Number for f64 {
    fn to_f64(self) -> f64 {
        self
    }
}

impl Number for u64 {
    #[expect(clippy::cast_precision_loss, reason = "see the trait")]
    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Number for usize {
    fn to_f64(self) -> f64 {
        (self as u64).to_f64()
    }
}

impl Number for bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
}

impl Collector for Sheet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Family { name, help, numbers } in &self.0 {
            match numbers {
                Numbers::Counter(all) => {
                    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                    all.iter().try_for_each(|series| series.encode(&mut metric, counted))?;
                }
                Numbers::Gauge(all) => {
                    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                    all.iter().try_for_each(|series| series.encode(&mut metric, measured))?;
                }
                Numbers::Histogram { counts, in_unit } => {
                    let metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
                    encode_histogram(metric, counts, *in_unit)?;
                }
            }
        }
        Ok(())
    }
}

type Written = Result<(), fmt::Error>;

impl Series {
    fn encode(
        &self,
        metric: &mut MetricEncoder<'_>,
        write: impl Fn(&mut MetricEncoder<'_>, f64) -> Written,
    ) -> Written {
        match &self.label {
            Some((name, value)) => {
                let labels = [(*name, value.as_ref())];
                write(&mut metric.encode_family(&labels)?, self.value)
            }
            None => write(metric, self.value),
        }
    }
}

fn counted(metric: &mut MetricEncoder<'_>, value: f64) -> Written {
    metric.encode_counter::<NoLabelSet, f64, f64>(&value, None)
}

fn measured(metric: &mut MetricEncoder<'_>, value: f64) -> Written {
    metric.encode_gauge(&value)
}

/// Writes the counts of a histogram. It divides, so that 25,000 us are 0.025 s and nothing near it.
///
/// # Errors
/// When the text cannot be written.
pub fn encode_histogram(mut metric: MetricEncoder<'_>, counts: &BucketCounts, in_unit: f64) -> Written {
    let bound = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound.to_f64() / in_unit);
    let buckets: Vec<_> = counts.buckets.iter().map(|(most, count)| (bound(*most), *count)).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    metric.encode_histogram::<NoLabelSet>(counts.sum.to_f64() / in_unit, count, &buckets, None)
}
