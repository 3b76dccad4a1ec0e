//! The numbers of one scrape, and how they are written.

use std::{borrow::Cow, fmt};

use amoiq_events::histogram::BucketCounts;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// Metrics, in the order in which they were added.
#[derive(Debug, Default)]
pub struct MetricFamilies(Vec<MetricFamily>);

#[derive(Debug)]
struct MetricFamily {
    name: &'static str,
    help: &'static str,
    numbers: FamilyValues,
}

#[derive(Debug)]
enum FamilyValues {
    Counter(Vec<LabelledValue>),
    Gauge(Vec<LabelledValue>),
    Histogram { counts: BucketCounts, in_unit: f64 },
}

/// A number, and the label that distinguishes it in its family.
#[derive(Debug)]
struct LabelledValue {
    label: Option<(&'static str, Cow<'static, str>)>,
    value: f64,
}

impl MetricFamilies {
    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl MetricNumber) {
        self.add(name, help, FamilyValues::Gauge(vec![LabelledValue { label: None, value: value.to_f64() }]));
    }

    /// The same, by a label.
    pub fn gauges<L: Into<Cow<'static, str>>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (L, impl MetricNumber)>,
    ) {
        self.add(name, help, FamilyValues::Gauge(series(label, values)));
    }

    /// A number that only goes up; its name is without `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: impl MetricNumber) {
        self.add(
            name,
            help,
            FamilyValues::Counter(vec![LabelledValue { label: None, value: value.to_f64() }]),
        );
    }

    /// The same, by a label.
    pub fn counters<L: Into<Cow<'static, str>>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (L, impl MetricNumber)>,
    ) {
        self.add(name, help, FamilyValues::Counter(series(label, values)));
    }

    /// The distribution of values. `in_unit` of them make one of the unit of the metric: a million microseconds, a second.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, counts: BucketCounts, in_unit: f64) {
        self.add(name, help, FamilyValues::Histogram { counts, in_unit });
    }

    fn add(&mut self, name: &'static str, help: &'static str, numbers: FamilyValues) {
        self.0.push(MetricFamily { name, help, numbers });
    }
}

fn series<L: Into<Cow<'static, str>>>(
    label: &'static str,
    values: impl IntoIterator<Item = (L, impl MetricNumber)>,
) -> Vec<LabelledValue> {
    let one = |(of, value): (L, _)| LabelledValue {
        label: Some((label, of.into())),
        value: MetricNumber::to_f64(value),
    };
    values.into_iter().map(one).collect()
}

/// A type that a metric can show.
pub trait MetricNumber {
    /// Exact up to 2^53, which no counter of one process reaches.
    fn to_f64(self) -> f64;
}

impl MetricNumber for f64 {
    fn to_f64(self) -> f64 {
        self
    }
}

impl MetricNumber for u64 {
    #[expect(clippy::cast_precision_loss, reason = "see the trait")]
    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl MetricNumber for usize {
    fn to_f64(self) -> f64 {
        (self as u64).to_f64()
    }
}

impl MetricNumber for bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
}

impl Collector for MetricFamilies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for MetricFamily { name, help, numbers } in &self.0 {
            match numbers {
                FamilyValues::Counter(all) => {
                    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                    all.iter().try_for_each(|series| series.encode(&mut metric, counted))?;
                }
                FamilyValues::Gauge(all) => {
                    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                    all.iter().try_for_each(|series| series.encode(&mut metric, measured))?;
                }
                FamilyValues::Histogram { counts, in_unit } => {
                    let metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
                    encode_histogram(metric, counts, *in_unit)?;
                }
            }
        }
        Ok(())
    }
}

type Written = Result<(), fmt::Error>;

impl LabelledValue {
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
