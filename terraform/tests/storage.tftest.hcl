# What holds for each bucket, whatever is in it.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  buckets = {
    telemetry = { name = "tg-telemetry-111122223333-eu-central-1", retention_days = 90 }
    state     = { name = "tg-state-111122223333-eu-central-1" }
    results   = { name = "tg-results-111122223333-eu-central-1" }
  }
  noncurrent_days = 5
}

run "buckets_are_private_and_versioned" {
  command = apply

  module {
    source = "./modules/storage"
  }

  assert {
    condition     = toset(keys(aws_s3_bucket.this)) == toset(["telemetry", "state", "results"])
    error_message = "Three buckets, by purpose."
  }

  assert {
    condition     = alltrue([for b in aws_s3_bucket.this : b.force_destroy != true])
    error_message = "A bucket that holds anything must not go with a destroy."
  }

  assert {
    condition = length(aws_s3_bucket_public_access_block.this) == 3 && alltrue([
      for block in aws_s3_bucket_public_access_block.this :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ])
    error_message = "Each bucket blocks public access in all four ways."
  }

  assert {
    condition = length(aws_s3_bucket_versioning.this) == 3 && alltrue([
      for versioning in aws_s3_bucket_versioning.this : versioning.versioning_configuration[0].status == "Enabled"
    ])
    error_message = "Each bucket is versioned."
  }

  assert {
    condition = length(aws_s3_bucket_ownership_controls.this) == 3 && alltrue([
      for controls in aws_s3_bucket_ownership_controls.this : controls.rule[0].object_ownership == "BucketOwnerEnforced"
    ])
    error_message = "No bucket knows ACLs."
  }
}

run "plain_http_and_old_tls_are_denied" {
  command = apply

  module {
    source = "./modules/storage"
  }

  assert {
    condition = length(aws_s3_bucket_policy.this) == 3 && alltrue([
      for purpose, policy in aws_s3_bucket_policy.this : length([
        for statement in jsondecode(policy.policy).Statement : statement
        if statement.Effect == "Deny" && statement.Principal == "*" && statement.Action == "s3:*"
        && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
        && toset(statement.Resource) == toset([aws_s3_bucket.this[purpose].arn, "${aws_s3_bucket.this[purpose].arn}/*"])
      ]) == 1
    ])
    error_message = "Each bucket's policy denies everyone everything over plain HTTP, bucket and objects."
  }

  assert {
    condition = alltrue([for policy in aws_s3_bucket_policy.this : anytrue([
      for statement in jsondecode(policy.policy).Statement :
      statement.Effect == "Deny" && try(statement.Condition.NumericLessThan["s3:TlsVersion"], "") == "1.2"
    ])])
    error_message = "Each bucket's policy denies TLS before 1.2."
  }

  assert {
    condition = alltrue(flatten([for policy in aws_s3_bucket_policy.this : [
      for statement in jsondecode(policy.policy).Statement : statement.Effect == "Deny"
    ]]))
    error_message = "A bucket's policy allows nothing to anybody."
  }
}

run "what_was_deleted_does_not_stay" {
  command = apply

  module {
    source = "./modules/storage"
  }

  assert {
    condition = length(aws_s3_bucket_lifecycle_configuration.this) == 3 && alltrue([
      for lifecycle in aws_s3_bucket_lifecycle_configuration.this : anytrue([
        for rule in lifecycle.rule : rule.status == "Enabled"
        && try(rule.abort_incomplete_multipart_upload[0].days_after_initiation, 0) == 7
      ])
    ])
    error_message = "Abandoned uploads go after 7 days."
  }

  assert {
    condition = alltrue([
      for lifecycle in aws_s3_bucket_lifecycle_configuration.this : anytrue([
        for rule in lifecycle.rule : rule.status == "Enabled"
        && try(rule.noncurrent_version_expiration[0].noncurrent_days, 0) == 5
        && try(rule.expiration[0].expired_object_delete_marker, false)
      ])
    ])
    error_message = "Old versions go after noncurrent_days, and their delete markers with them."
  }

  assert {
    condition = alltrue([
      for purpose in ["state", "results"] : alltrue([
        for rule in aws_s3_bucket_lifecycle_configuration.this[purpose].rule : try(rule.expiration[0].days, 0) == 0
      ])
    ])
    error_message = "The commit log says what lives in state and results; no rule may delete current objects there."
  }

  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.this["telemetry"].rule : try(rule.expiration[0].days, 0) == 90
    ])
    error_message = "Telemetry goes after its retention."
  }
}

run "s3_keeps_the_key_by_default" {
  command = apply

  module {
    source = "./modules/storage"
  }

  assert {
    condition = length(aws_s3_bucket_server_side_encryption_configuration.this) == 3 && alltrue([
      for sse in aws_s3_bucket_server_side_encryption_configuration.this : alltrue([
        for rule in sse.rule : rule.apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
      ])
    ])
    error_message = "Without a key each bucket is encrypted with AES256."
  }
}

run "a_key_of_ones_own_is_used" {
  command = apply

  module {
    source = "./modules/storage"
  }

  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/one"
  }

  assert {
    condition = alltrue([
      for sse in aws_s3_bucket_server_side_encryption_configuration.this : alltrue([
        for rule in sse.rule : rule.bucket_key_enabled
        && rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"
        && rule.apply_server_side_encryption_by_default[0].kms_master_key_id == var.kms_key_arn
      ])
    ])
    error_message = "With a key each bucket uses it, through a bucket key."
  }
}
