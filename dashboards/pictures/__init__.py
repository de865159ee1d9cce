"""Pictures of the boards in situations that somebody on call meets, drawn from invented history."""
