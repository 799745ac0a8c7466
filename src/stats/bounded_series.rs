//! A series of blocks of equal length that never grows beyond a bound: where it would, neighbours are merged.

/// Most blocks held: of one second, they last for four minutes; then they become blocks of two, four, … seconds.
pub const BLOCKS_MAX: usize = 256;

/// What a block holds.
pub trait Merge {
    /// Adds what follows it.
    fn merge(&mut self, next: Self);
}

/// Blocks in order of time.
#[derive(Debug, Clone)]
pub struct BoundedSeries<T> {
    blocks: Vec<T>,
    /// Items in each block but the last, which holds one to this many.
    length: u64,
    in_last: u64,
}

impl<T> Default for BoundedSeries<T> {
    fn default() -> BoundedSeries<T> {
        BoundedSeries {
            blocks: Vec::new(),
            length: 1,
            in_last: 0,
        }
    }
}

impl<T: Merge> BoundedSeries<T> {
    /// Appends an item. If that makes more than 256 blocks, neighbours are merged, and blocks are twice as long from
    /// then on.
    pub fn push(&mut self, item: T) {
        let filling = self.in_last < self.length;
        if let Some(last) = self.blocks.last_mut().filter(|_| filling) {
            last.merge(item);
            self.in_last += 1;
            return;
        }
        if self.blocks.len() == BLOCKS_MAX {
            self.halve();
        }
        self.blocks.push(item);
        self.in_last = 1;
    }

    /// The blocks. The last one may be shorter than the others.
    pub fn blocks(&self) -> &[T] {
        &self.blocks
    }

    /// Items in a block: 1, 2, 4, …
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Items in all blocks.
    pub fn items(&self) -> u64 {
        self.blocks.len().saturating_sub(1) as u64 * self.length + self.in_last
    }

    /// Merges neighbours. Expects full blocks, even in number.
    fn halve(&mut self) {
        let mut merged: Vec<T> = Vec::with_capacity(BLOCKS_MAX);
        for (index, block) in std::mem::take(&mut self.blocks).into_iter().enumerate() {
            match merged.last_mut().filter(|_| index % 2 == 1) {
                Some(first) => first.merge(block),
                None => merged.push(block),
            }
        }
        self.blocks = merged;
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
            assert!(series.blocks().len() <= BLOCKS_MAX);
            assert_eq!(series.blocks().iter().sum::<u64>(), item * (item + 1) / 2);
            assert_eq!(series.items(), item);
        }
        // Merged at 256, 512 and 1,024 items: eight in each block but the last.
        assert_eq!((series.length(), series.blocks().len()), (8, 138));
        assert_eq!(series.blocks()[0], (1..=8).sum::<u64>());
    }
}
