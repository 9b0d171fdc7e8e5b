output "queue_url" {
  description = "Queue of new files."
  value       = aws_sqs_queue.files.id
}

output "queue_arn" {
  description = "ARN of the queue of new files."
  value       = aws_sqs_queue.files.arn
}

output "dead_letter_queue_url" {
  description = "Queue of messages that nobody could handle."
  value       = aws_sqs_queue.dead.id
}
