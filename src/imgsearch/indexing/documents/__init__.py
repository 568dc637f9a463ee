"""Files that hold more than an image, while they are indexed: documents, Live Photos, RAW files beside a JPEG."""
