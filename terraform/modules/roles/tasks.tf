# What runs inside the tasks. The coordinator alone lists, commits, publishes and deletes; a worker
# reads what its plan names, and writes files that nobody has read yet.
#
# The layout is that of the commit log: <state>/<job>/runs/..., <sink>/_prepared/....

locals {
  telemetry = "${var.buckets.telemetry.arn}/${var.buckets.telemetry.prefix}*"
  state     = "${var.buckets.state.arn}/${var.buckets.state.prefix}*"
  results   = "${var.buckets.results.arn}/${var.buckets.results.prefix}*"

  # AbortMultipartUpload goes with PutObject: an upload that fails is taken back.
  write = ["s3:AbortMultipartUpload", "s3:PutObject"]

  service_statements = concat(
    [for bucket in [var.buckets.telemetry, var.buckets.state, var.buckets.results] : {
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = [bucket.arn]
      # IfExists: S3 answers 404 for an object that is absent only to who may list the bucket, and
      # it asks without a prefix then. A plain condition would make that 403, and absence is
      # something that the commit log must be able to see.
      Condition = {
        StringLikeIfExists = { "s3:prefix" = [trimsuffix(bucket.prefix, "/"), "${bucket.prefix}*"] }
      }
    }],
    [
      {
        Sid      = "ReadTelemetry"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = [local.telemetry]
      },
      {
        Sid      = "KeepState"
        Effect   = "Allow"
        Action   = concat(["s3:DeleteObject", "s3:GetObject"], local.write)
        Resource = [local.state]
      },
      {
        Sid      = "PublishResults"
        Effect   = "Allow"
        Action   = concat(["s3:GetObject"], local.write)
        Resource = [local.results]
      },
      # Results that are published are nobody's to delete; what was prepared for them is.
      {
        Sid      = "ClearPrepared"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject"]
        Resource = ["${local.results}_prepared/*"]
      },
      {
        Sid    = "TakeNotifications"
        Effect = "Allow"
        Action = [
          "sqs:ChangeMessageVisibility",
          "sqs:DeleteMessage",
          "sqs:GetQueueAttributes",
          "sqs:ReceiveMessage",
        ]
        Resource = [var.queue_arn]
      },
    ],
    local.key_statements,
  )

  worker_statements = concat(
    [
      {
        Sid      = "ReadTelemetryAndState"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = [local.telemetry, "${local.state}/runs/*"]
      },
      {
        Sid      = "WriteRunsAndPreparedFiles"
        Effect   = "Allow"
        Action   = local.write
        Resource = ["${local.state}/runs/*", "${local.results}_prepared/*"]
      },
    ],
    local.key_statements,
  )

  # The key is used through S3 alone.
  key_statements = [for key in var.kms_key_arn == null ? [] : [var.kms_key_arn] : {
    Sid       = "UseBucketsKey"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = [key]
    Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
  }]
}
