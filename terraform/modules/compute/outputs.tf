output "cluster_name" {
  description = "The ECS cluster."
  value       = aws_ecs_cluster.this.name
}

output "flight_address" {
  description = "Flight SQL, from inside the network and from networks that resolve its names."
  value       = "grpc://${local.service_host}:${local.flight_port}"
}

output "http_address" {
  description = "HTTP door, likewise."
  value       = "http://${local.service_host}:${local.http_port}"
}

output "service_security_group_id" {
  description = "Group of the service."
  value       = aws_security_group.service.id
}

output "workers_security_group_id" {
  description = "Group of the workers."
  value       = aws_security_group.workers.id
}
