"""Keep the files of artifacts: in a folder, or wherever fsspec reaches."""
