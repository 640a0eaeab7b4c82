"""Large jobs: many molecules or conformers in files of a folder, made by many processes, on one machine or on Ray."""
