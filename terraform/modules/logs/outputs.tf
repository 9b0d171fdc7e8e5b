output "names" {
  description = "Log groups by role: service, worker."
  value       = { for role, group in aws_cloudwatch_log_group.this : role => group.name }
}

output "arns" {
  description = "ARNs of the log groups by role."
  value       = { for role, group in aws_cloudwatch_log_group.this : role => group.arn }
}
