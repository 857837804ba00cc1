"""The measured process that index_collection.py starts; imported again in each process it spawns."""

from indexscope.measure import worker

worker.run_program(__name__)
