//! A report as a picture: Scalable Vector Graphics 1.1, readable on white and when printed.

use std::fmt::Write as _;

use super::report::SimulationReport;
use super::table::{bytes, held, time};
use crate::StorageClass;

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 210.0;
const PLOT_WIDTH: f64 = WIDTH - LEFT - RIGHT;
const TOP: f64 = 70.0;
const OCCUPANCY_HEIGHT: f64 = 300.0;
const GAP: f64 = 80.0;
const WAIT_ROW_HEIGHT: f64 = 34.0;
const KEY_ROW_HEIGHT: f64 = 16.0;
/// The most keys that are drawn.
const KEYS_MAX: usize = 40;

/// Colours of the classes, told apart also by those who see fewer (Okabe and Ito 2008).
const COLOURS: [(StorageClass, &str); 8] = [
    (StorageClass::Standard, "#D55E00"),
    (StorageClass::ReducedRedundancy, "#999999"),
    (StorageClass::StandardIa, "#E69F00"),
    (StorageClass::IntelligentTiering, "#F0E442"),
    (StorageClass::OnezoneIa, "#CC79A7"),
    (StorageClass::GlacierIr, "#009E73"),
    (StorageClass::Glacier, "#56B4E9"),
    (StorageClass::DeepArchive, "#0072B2"),
];

/// Shapes in the making.
struct Canvas(String);

impl Canvas {
    fn text(&mut self, x: f64, y: f64, anchor: &str, size: u8, text: &str) {
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{}</text>",
            escaped(text)
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        self.add(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>",
            width.max(0.5)
        ));
    }

    fn add(&mut self, shape: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{shape}");
    }
}

const GRID: &str = "stroke=\"#dddddd\" stroke-width=\"1\"";
const AXIS: &str = "stroke=\"#444444\" stroke-width=\"1\"";

impl SimulationReport {
    /// The report as an SVG picture: what lies where over time, how long restores took, and when
    /// which key is needed.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let waits_top = TOP + OCCUPANCY_HEIGHT + GAP;
        let waits_height = WAIT_ROW_HEIGHT * self.restores.len().max(1) as f64;
        let keys_top = waits_top + waits_height + GAP;
        let keys_height = KEY_ROW_HEIGHT * self.keys.len().clamp(1, KEYS_MAX) as f64;
        let height = keys_top + keys_height + 60.0;
        let mut canvas = Canvas(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
             font-family=\"sans-serif\" fill=\"#222222\">\n<title>{}</title>\n",
            escaped(&self.scenario)
        ));
        canvas.bar(0.0, 0.0, WIDTH, height, "#ffffff");
        canvas.text(
            LEFT,
            28.0,
            "start",
            18,
            &format!("{} (seed {})", self.scenario, self.seed),
        );
        self.draw_occupancy(&mut canvas);
        self.draw_waits(&mut canvas, waits_top, waits_height);
        self.draw_keys(&mut canvas, keys_top, keys_height);
        canvas.0.push_str("</svg>\n");
        canvas.0
    }

    fn days(&self) -> f64 {
        self.occupancy
            .last()
            .map_or(1.0, |sample| sample.day_number.max(1) as f64)
    }

    fn x_of_day(&self, day: i64) -> f64 {
        LEFT + PLOT_WIDTH * (day as f64 / self.days()).clamp(0.0, 1.0)
    }

    /// A grid line and a date for every so many years, so that the dates do not touch.
    fn draw_time_axis(&self, canvas: &mut Canvas, top: f64, bottom: f64) {
        let years = (self.days() / 365.0).ceil().max(1.0);
        let step = (years / 8.0).ceil() * 365.0;
        let mut next = 0.0;
        for sample in &self.occupancy {
            if (sample.day_number as f64) < next {
                continue;
            }
            next = ((sample.day_number as f64 / step).floor() + 1.0) * step;
            let x = self.x_of_day(sample.day_number);
            canvas.line((x, top), (x, bottom), GRID);
            canvas.text(x, bottom + 18.0, "middle", 12, &sample.day);
        }
        canvas.line((LEFT, bottom), (LEFT + PLOT_WIDTH, bottom), AXIS);
    }

    fn draw_occupancy(&self, canvas: &mut Canvas) {
        let bottom = TOP + OCCUPANCY_HEIGHT;
        canvas.text(LEFT, TOP - 14.0, "start", 14, "What lies where");
        let total = |sample: &super::OccupancySample| {
            sample.classes.iter().map(|held| held.bytes).sum::<u64>() + sample.restored_copies_bytes
        };
        let most = self.occupancy.iter().map(total).max().unwrap_or(0);
        let ceiling = round_up(most.max(1));
        let y_of = |held: u64| bottom - OCCUPANCY_HEIGHT * (held as f64 / ceiling as f64);
        self.draw_time_axis(canvas, TOP, bottom);
        for quarter in 0..=4 {
            let mark = ceiling / 4 * quarter;
            canvas.line((LEFT, y_of(mark)), (LEFT + PLOT_WIDTH, y_of(mark)), GRID);
            canvas.text(LEFT - 8.0, y_of(mark) + 4.0, "end", 12, &bytes(mark));
        }
        // Layers are stacked from the coldest up.
        let mut floor = vec![0_u64; self.occupancy.len()];
        let mut legend_y = bottom - 8.0;
        let layers = COLOURS
            .iter()
            .rev()
            .map(|(class, colour)| (class.as_str(), *colour))
            .chain([("restored copies", "#222222")]);
        for (name, colour) in layers {
            let heights: Vec<u64> = self
                .occupancy
                .iter()
                .map(|sample| match name {
                    "restored copies" => sample.restored_copies_bytes,
                    class => held(sample, class),
                })
                .collect();
            if heights.iter().all(|height| *height == 0) {
                continue;
            }
            let roof: Vec<u64> = floor
                .iter()
                .zip(&heights)
                .map(|(floor, height)| floor + height)
                .collect();
            let point = |(sample, held): (&super::OccupancySample, &u64)| {
                format!("{:.1},{:.1}", self.x_of_day(sample.day_number), y_of(*held))
            };
            let upper = self.occupancy.iter().zip(&roof).map(point);
            let lower = self.occupancy.iter().zip(&floor).rev().map(point);
            let points: Vec<String> = upper.chain(lower).collect();
            canvas.add(format_args!(
                "<polygon points=\"{}\" fill=\"{colour}\"/>",
                points.join(" ")
            ));
            canvas.bar(
                LEFT + PLOT_WIDTH + 20.0,
                legend_y - 10.0,
                12.0,
                12.0,
                colour,
            );
            canvas.text(LEFT + PLOT_WIDTH + 38.0, legend_y, "start", 12, name);
            legend_y -= 20.0;
            floor = roof;
        }
        if let Some(capacity) = &self.capacity
            && capacity.capacity_bytes <= ceiling
        {
            let y = y_of(capacity.capacity_bytes);
            canvas.line(
                (LEFT, y),
                (LEFT + PLOT_WIDTH, y),
                "stroke=\"#222222\" stroke-width=\"1.5\" stroke-dasharray=\"6 4\"",
            );
            canvas.text(
                LEFT + PLOT_WIDTH + 20.0,
                y + 4.0,
                "start",
                12,
                "cold tier capacity",
            );
        }
        canvas.line((LEFT, TOP), (LEFT, bottom), AXIS);
    }

    /// Waits on a logarithmic axis from one minute to a hundred days.
    fn draw_waits(&self, canvas: &mut Canvas, top: f64, height: f64) {
        let bottom = top + height;
        canvas.text(
            LEFT,
            top - 14.0,
            "start",
            14,
            "How long restores took: bar to half, thin bar to 95 of 100, mark at the longest",
        );
        if self.restores.iter().all(|waits| waits.restored == 0) {
            canvas.text(LEFT + 8.0, top + 20.0, "start", 12, "nothing was restored");
            canvas.line((LEFT, bottom), (LEFT + PLOT_WIDTH, bottom), AXIS);
            return;
        }
        let (least, most) = (60.0_f64.ln(), 8_640_000.0_f64.ln());
        let x_of = |seconds: u64| {
            let place = ((seconds.max(1) as f64).ln() - least) / (most - least);
            LEFT + PLOT_WIDTH * place.clamp(0.0, 1.0)
        };
        for mark in [60, 300, 3_600, 18_000, 43_200, 172_800, 864_000, 8_640_000] {
            canvas.line((x_of(mark), top), (x_of(mark), bottom), GRID);
            let label = match mark {
                60..3_600 => format!("{} min", mark / 60),
                3_600..172_800 => format!("{} h", mark / 3_600),
                _ => format!("{} d", mark / 86_400),
            };
            canvas.text(x_of(mark), bottom + 18.0, "middle", 12, &label);
        }
        for (row, waits) in self.restores.iter().enumerate() {
            let y = top + WAIT_ROW_HEIGHT * row as f64;
            let colour = COLOURS
                .iter()
                .find(|(class, _)| class.as_str() == waits.class)
                .map_or("#222222", |(_, colour)| *colour);
            canvas.text(LEFT - 8.0, y + 15.0, "end", 11, waits.class);
            canvas.text(LEFT - 8.0, y + 28.0, "end", 11, waits.tier);
            if waits.restored > 0 {
                let to = |seconds| x_of(seconds) - LEFT;
                canvas.bar(LEFT, y + 14.0, to(waits.p95_seconds), 8.0, colour);
                canvas.bar(LEFT, y + 9.0, to(waits.p50_seconds), 18.0, colour);
                canvas.bar(x_of(waits.max_seconds) - 1.0, y + 6.0, 2.0, 24.0, "#222222");
            }
            let (first, second) = if waits.restored == 0 {
                ("nothing was restored".to_owned(), String::new())
            } else {
                (
                    format!(
                        "p50 {}, p95 {}",
                        time(waits.p50_seconds),
                        time(waits.p95_seconds)
                    ),
                    format!(
                        "max {}, {} restores",
                        time(waits.max_seconds),
                        waits.restored
                    ),
                )
            };
            let beside = LEFT + PLOT_WIDTH + 20.0;
            canvas.text(beside, y + 15.0, "start", 11, &first);
            canvas.text(beside, y + 28.0, "start", 11, &second);
        }
        canvas.line((LEFT, top), (LEFT, bottom), AXIS);
        canvas.line((LEFT, bottom), (LEFT + PLOT_WIDTH, bottom), AXIS);
    }

    fn draw_keys(&self, canvas: &mut Canvas, top: f64, height: f64) {
        let bottom = top + height;
        let more = self.keys.len().saturating_sub(KEYS_MAX);
        let title = if more == 0 {
            "When which key is needed".to_owned()
        } else {
            format!("When which key is needed (the first {KEYS_MAX}; {more} more)")
        };
        canvas.text(LEFT, top - 14.0, "start", 14, &title);
        self.draw_time_axis(canvas, top, bottom);
        for (row, key) in self.keys.iter().take(KEYS_MAX).enumerate() {
            let y = top + KEY_ROW_HEIGHT * row as f64;
            let from = self.x_of_day(key.first_day_number);
            let to = key
                .last_day_number
                .map_or(LEFT + PLOT_WIDTH, |day| self.x_of_day(day));
            let colour = if key.last_day.is_some() {
                "#999999"
            } else {
                "#0072B2"
            };
            canvas.bar(from, y + 3.0, to - from, KEY_ROW_HEIGHT - 6.0, colour);
            canvas.text(LEFT - 8.0, y + 12.0, "end", 10, &key.key);
        }
        canvas.bar(LEFT + PLOT_WIDTH + 20.0, top, 12.0, 12.0, "#0072B2");
        canvas.text(
            LEFT + PLOT_WIDTH + 38.0,
            top + 10.0,
            "start",
            12,
            "needed at the end",
        );
        canvas.bar(LEFT + PLOT_WIDTH + 20.0, top + 20.0, 12.0, 12.0, "#999999");
        canvas.text(
            LEFT + PLOT_WIDTH + 38.0,
            top + 30.0,
            "start",
            12,
            "not needed any more",
        );
        canvas.line((LEFT, top), (LEFT, bottom), AXIS);
    }
}

/// The next number up of which a quarter is easy to read: 1, 2, 4, 5 or 10 of a power of ten.
fn round_up(most: u64) -> u64 {
    let mut step = 4_u64;
    loop {
        for factor in [1, 2, 4, 5, 10] {
            let candidate = step.saturating_mul(factor);
            if candidate >= most {
                return candidate;
            }
        }
        step = step.saturating_mul(10);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_above_the_most() {
        for most in [1, 3, 4, 5, 41, 399, 400, 401, u64::MAX] {
            let ceiling = round_up(most);
            assert!(ceiling >= most, "{most}");
            assert!(most < 5 || ceiling / 3 <= most, "{most} {ceiling}");
        }
    }
}
