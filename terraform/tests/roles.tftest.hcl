# Each role's whole list of rights: a right that is added without a line here fails.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name           = "tg"
  partition      = "aws"
  region         = "eu-central-1"
  account_id     = "111122223333"
  image          = "444455556666.dkr.ecr.eu-west-1.amazonaws.com/team/tidegauge:1.2.3"
  secret_arns    = ["arn:aws:secretsmanager:eu-central-1:111122223333:secret:one", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:two"]
  log_group_arns = ["arn:aws:logs:eu-central-1:111122223333:log-group:/tg/service"]
  queue_arn      = "arn:aws:sqs:eu-central-1:111122223333:tg-telemetry"
  buckets = {
    telemetry = { arn = "arn:aws:s3:::t", prefix = "telemetry/" }
    state     = { arn = "arn:aws:s3:::s", prefix = "state/" }
    results   = { arn = "arn:aws:s3:::r", prefix = "results/" }
  }
}

run "only_ecs_takes_a_role" {
  command = apply

  module {
    source = "./modules/roles"
  }

  assert {
    condition = length(aws_iam_role.this) == 3 && alltrue([
      for role in aws_iam_role.this : jsondecode(role.assume_role_policy).Statement == [{
        Effect    = "Allow"
        Principal = { Service = "ecs-tasks.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = {
          StringEquals = { "aws:SourceAccount" = "111122223333" }
          ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:eu-central-1:111122223333:*" }
        }
      }]
    ])
    error_message = "ECS alone, for tasks of this account and region."
  }
}

run "every_right_names_its_resource" {
  command = apply

  module {
    source = "./modules/roles"
  }

  assert {
    condition = alltrue(flatten([for policy in aws_iam_role_policy.this : [
      for statement in jsondecode(policy.policy).Statement : alltrue([
        for resource in statement.Resource : startswith(resource, "arn:aws:")
      ]) || statement.Action == ["ecr:GetAuthorizationToken"]
    ]]))
    error_message = "Only ecr:GetAuthorizationToken has no resource of its own."
  }

  assert {
    condition = alltrue(flatten([for policy in aws_iam_role_policy.this : [
      for statement in jsondecode(policy.policy).Statement : [
        for action in statement.Action : !strcontains(action, "*")
      ]
    ]]))
    error_message = "No action is given by a pattern."
  }
}

run "ecs_starts_tasks_and_no_more" {
  command = apply

  module {
    source = "./modules/roles"
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.this["execution"].policy).Statement :
      statement.Sid => { Action = statement.Action, Resource = statement.Resource }
      } == {
      LogInToRegistry = { Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] }
      PullImage = {
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = ["arn:aws:ecr:eu-west-1:444455556666:repository/team/tidegauge"]
      }
      WriteLogs = {
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["arn:aws:logs:eu-central-1:111122223333:log-group:/tg/service:*"]
      }
      ReadSecrets = { Action = ["secretsmanager:GetSecretValue"], Resource = [for arn in var.secret_arns : arn] }
    }
    error_message = "The image, the logs and the given secrets."
  }
}

run "the_service_reads_keeps_and_publishes" {
  command = apply

  module {
    source = "./modules/roles"
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.this["service"].policy).Statement :
      statement.Sid => { Action = statement.Action, Resource = statement.Resource } if can(statement.Sid)
      } == {
      ReadTelemetry = { Action = ["s3:GetObject"], Resource = ["arn:aws:s3:::t/telemetry/*"] }
      KeepState = {
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:PutObject"]
        Resource = ["arn:aws:s3:::s/state/*"]
      }
      PublishResults = {
        Action   = ["s3:GetObject", "s3:AbortMultipartUpload", "s3:PutObject"]
        Resource = ["arn:aws:s3:::r/results/*"]
      }
      ClearPrepared = { Action = ["s3:DeleteObject"], Resource = ["arn:aws:s3:::r/results/*_prepared/*"] }
      TakeNotifications = {
        Action = [
          "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
        ]
        Resource = ["arn:aws:sqs:eu-central-1:111122223333:tg-telemetry"]
      }
    }
    error_message = "Telemetry is read, state is kept, results are published and never deleted."
  }

  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.this["service"].policy).Statement :
      [statement.Action, statement.Resource, statement.Condition] if statement.Action == ["s3:ListBucket"]
      ] == [for bucket in ["telemetry", "state", "results"] : [
        ["s3:ListBucket"],
        [var.buckets[bucket].arn],
        { StringLikeIfExists = { "s3:prefix" = [bucket, "${bucket}/*"] } },
    ]]
    error_message = "Each bucket is listed below its prefix."
  }
}

run "a_worker_neither_lists_nor_deletes" {
  command = apply

  module {
    source = "./modules/roles"
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.this["worker"].policy).Statement :
      statement.Sid => { Action = statement.Action, Resource = statement.Resource }
      } == {
      ReadTelemetryAndState = {
        Action   = ["s3:GetObject"]
        Resource = ["arn:aws:s3:::t/telemetry/*", "arn:aws:s3:::s/state/*/runs/*"]
      }
      WriteRunsAndPreparedFiles = {
        Action   = ["s3:AbortMultipartUpload", "s3:PutObject"]
        Resource = ["arn:aws:s3:::s/state/*/runs/*", "arn:aws:s3:::r/results/*_prepared/*"]
      }
    }
    error_message = "A worker reads telemetry and runs, and writes runs and prepared files."
  }
}

run "keys_are_used_through_s3_alone" {
  command = apply

  module {
    source = "./modules/roles"
  }

  variables {
    kms_key_arn         = "arn:aws:kms:eu-central-1:111122223333:key/buckets"
    secrets_kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/secrets"
  }

  assert {
    condition = alltrue([for use in ["service", "worker"] : [
      for statement in jsondecode(aws_iam_role_policy.this[use].policy).Statement :
      [statement.Action, statement.Resource, statement.Condition] if try(statement.Sid, "") == "UseBucketsKey"
      ] == [[
        ["kms:Decrypt", "kms:GenerateDataKey"],
        [var.kms_key_arn],
        { StringEquals = { "kms:ViaService" = "s3.eu-central-1.amazonaws.com" } },
    ]]])
    error_message = "Tasks use the buckets' key, through S3."
  }

  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.this["execution"].policy).Statement :
      [statement.Action, statement.Resource] if statement.Sid == "DecryptSecrets"
    ] == [[["kms:Decrypt"], [var.secrets_kms_key_arn]]]
    error_message = "ECS decrypts the secrets with their key."
  }
}
