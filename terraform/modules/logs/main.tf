# Where the containers' logs go, one group for each role, so that their retention is bounded.

resource "aws_cloudwatch_log_group" "this" {
  for_each = toset(["service", "worker"])

  name              = "/${var.name}/${each.key}"
  retention_in_days = var.retention_days
  kms_key_id        = var.kms_key_arn
}
