"""Molecules on disk and the batches made of them."""

from coset.data.batches import Batches
from coset.data.catalog import Dataset, open_dataset
from coset.data.store import Store
from coset.data.writer import StoreWriter

__all__ = ["Batches", "Dataset", "Store", "StoreWriter", "open_dataset"]
