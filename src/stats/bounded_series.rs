//! A series of batches of equal length that never grows beyond a bound: where it would, neighbours are merged.

/// Most batches held: of one second, they last for four minutes; then they become batches of two, four, … seconds.
pub const BATCHES_MAX: usize = 256;

/// What a batch holds.
pub trait Merge {
    /// Adds what follows it.
    fn merge(&mut self, next: Self);
}

/// Batches in order of time.
#[derive(Debug, Clone)]
pub struct BoundedSeries<T> {
    batches: Vec<T>,
    /// Items in each batch but the last, which holds one to this many.
    length: u64,
    in_last: u64,
}

impl<T> Default for BoundedSeries<T> {
    fn default() -> BoundedSeries<T> {
        BoundedSeries {
            batches: Vec::new(),
            length: 1,
            in_last: 0,
        }
    }
}

impl<T: Merge> BoundedSeries<T> {
    /// Appends an item. If that makes more than 256 batches, neighbours are merged, and batches are twice as long from
    /// then on.
    pub fn push(&mut self, item: T) {
        let filling = self.in_last < self.length;
        if let Some(last) = self.batches.last_mut().filter(|_| filling) {
            last.merge(item);
            self.in_last += 1;
            return;
        }
        if self.batches.len() == BATCHES_MAX {
            self.halve();
        }
        self.batches.push(item);
        self.in_last = 1;
    }

    /// The batches. The last one may be shorter than the others.
    pub fn batches(&self) -> &[T] {
        &self.batches
    }

    /// Items in a batch: 1, 2, 4, …
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Items in all batches.
    pub fn items(&self) -> u64 {
        self.batches.len().saturating_sub(1) as u64 * self.length + self.in_last
    }

    /// Merges neighbours. Expects full batches, even in number.
    fn halve(&mut self) {
        let mut merged: Vec<T> = Vec::with_capacity(BATCHES_MAX);
        for (index, batch) in std::mem::take(&mut self.batches).into_iter().enumerate() {
            match merged.last_mut().filter(|_| index % 2 == 1) {
                Some(first) => first.merge(batch),
                None => merged.push(batch),
            }
        }
        self.batches = merged;
        self.length *= 2;
        self.in_last = self.length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Merge for u64 {
        fn merge(&mut self, next: u64) {
            *self += next;
        }
    }

    #[test]
    fn merged_neighbours_keep_every_item() {
        let mut series = BoundedSeries::default();
        for item in 1..=1_100_u64 {
            series.push(item);
            assert!(series.batches().len() <= BATCHES_MAX);
            assert_eq!(series.batches().iter().sum::<u64>(), item * (item + 1) / 2);
            assert_eq!(series.items(), item);
        }
        // Merged at 256, 512 and 1,024 items: eight in each batch but the last.
        assert_eq!((series.length(), series.batches().len()), (8, 138));
        assert_eq!(series.batches()[0], (1..=8).sum::<u64>());
    }
}
