# What must not keep the bill growing. Current objects are never touched in the state and results
# buckets: the commit log says what is live, and Tidegauge collects the rest by itself.

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = var.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    id     = "abandoned-uploads"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # What Tidegauge deletes lives on as a noncurrent version, and then as a bare delete marker.
  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }
    expiration {
      expired_object_delete_marker = true
    }
  }

  dynamic "rule" {
    for_each = each.value.retention_days == null ? [] : [each.value.retention_days]

    content {
      id     = "retention"
      status = "Enabled"
      filter {}

      expiration {
        days = rule.value
      }
    }
  }

  # Rules on noncurrent versions are refused before versioning is on.
  depends_on = [aws_s3_bucket_versioning.this]
}
