# Three roles: what ECS does to start a task, what the coordinator may, what a worker may.
#
# Every statement names its resources. The one `*` is ecr:GetAuthorizationToken, which AWS offers
# for all registries or none.

locals {
  arn = "arn:${var.partition}"

  # An image is <account>.dkr.ecr.<region>.<domain>/<repository>[:<tag>|@<digest>].
  image = regex(
    "^(?P<account>[0-9]{12})\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.[^/]+/(?P<repository>[^:@]+)",
    var.image,
  )
  repository_arn = (
    "${local.arn}:ecr:${local.image.region}:${local.image.account}:repository/${local.image.repository}"
  )

  # Only ECS may take a role, and only for tasks of this account and region.
  trust_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = var.account_id }
        ArnLike      = { "aws:SourceArn" = "${local.arn}:ecs:${var.region}:${var.account_id}:*" }
      }
    }]
  })
}

resource "aws_iam_role" "this" {
  for_each = toset(["execution", "service", "worker"])

  name               = "${var.name}-${each.key}"
  assume_role_policy = local.trust_policy
}

resource "aws_iam_role_policy" "this" {
  for_each = {
    execution = local.execution_statements
    service   = local.service_statements
    worker    = local.worker_statements
  }

  name = each.key
  role = aws_iam_role.this[each.key].id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = each.value
  })
}
