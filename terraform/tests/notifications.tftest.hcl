# From the telemetry bucket to the queue, and nothing else.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "tg"
  account_id  = "111122223333"
  bucket_name = "tg-telemetry"
  bucket_arn  = "arn:aws:s3:::tg-telemetry"
  prefix      = "telemetry/"
}

run "new_files_are_told" {
  command = apply

  module {
    source = "./modules/notifications"
  }

  assert {
    condition = (
      aws_s3_bucket_notification.files.bucket == "tg-telemetry"
      && aws_s3_bucket_notification.files.queue[0].queue_arn == aws_sqs_queue.files.arn
      && toset(aws_s3_bucket_notification.files.queue[0].events) == toset(["s3:ObjectCreated:*"])
      && aws_s3_bucket_notification.files.queue[0].filter_prefix == "telemetry/"
    )
    error_message = "Each object that is created below the prefix is told to the queue."
  }

  assert {
    condition     = aws_sqs_queue.files.sqs_managed_sse_enabled && aws_sqs_queue.dead.sqs_managed_sse_enabled
    error_message = "Both queues are encrypted."
  }
}

run "only_that_bucket_may_send" {
  command = apply

  module {
    source = "./modules/notifications"
  }

  assert {
    condition = [
      for statement in jsondecode(aws_sqs_queue_policy.files.policy).Statement : statement
      if statement.Effect == "Allow"
      ] == [{
        Sid       = "TelemetryBucketSends"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.files.arn
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::tg-telemetry" }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
    }]
    error_message = "The one thing that is allowed is S3 sending for that bucket of that account."
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(aws_sqs_queue_policy.files.policy).Statement :
      statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
    ])
    error_message = "The queue denies plain HTTP."
  }
}

run "what_cannot_be_handled_goes_to_the_dead_letter_queue" {
  command = apply

  module {
    source = "./modules/notifications"
  }

  variables {
    receives_max = 3
  }

  assert {
    condition = jsondecode(aws_sqs_queue.files.redrive_policy) == {
      deadLetterTargetArn = aws_sqs_queue.dead.arn
      maxReceiveCount     = 3
    }
    error_message = "After receives_max receives a message goes to the dead-letter queue."
  }

  assert {
    condition = jsondecode(aws_sqs_queue_redrive_allow_policy.dead.redrive_allow_policy) == {
      redrivePermission = "byQueue"
      sourceQueueArns   = [aws_sqs_queue.files.arn]
    }
    error_message = "The dead-letter queue takes from that queue alone."
  }

  assert {
    condition     = aws_sqs_queue.dead.message_retention_seconds > aws_sqs_queue.files.message_retention_seconds
    error_message = "A message keeps its age when it moves, so the dead-letter queue must keep it longer."
  }
}
