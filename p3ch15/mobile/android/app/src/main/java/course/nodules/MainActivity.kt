package course.nodules

import android.app.Activity
import android.os.Bundle
import android.widget.ScrollView
import android.widget.TextView
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.concurrent.thread
import kotlin.math.exp
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** Judges the crops in the assets, one after another, and says how long each took. No medical device. */
class MainActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val text = TextView(this).apply { setPadding(48, 48, 48, 48) }
        setContentView(ScrollView(this).apply { addView(text) })
        // Not on the thread that draws: the screen would freeze.
        thread {
            val lines = try { judge() } catch (error: Exception) { listOf("It did not work: ${error.message}") }
            runOnUiThread { text.text = lines.joinToString("\n") }
        }
    }

    private fun judge(): List<String> {
        val module = Module.load(fileOf("nodule-int8.pte").path)
        val crops = floatsOf("crops.f32")
        return (0 until crops.size / CROP).map { number ->
            val crop = crops.copyOfRange(number * CROP, (number + 1) * CROP)
            val start = System.nanoTime()
            val input = Tensor.fromBlob(crop, longArrayOf(1, 1, 32, 48, 48))
            val logits = module.forward(EValue.from(input))[0].toTensor().dataAsFloatArray
            val milliseconds = (System.nanoTime() - start) / 1e6
            val probability = 1 / (1 + exp(logits[0] - logits[1])) // softmax of two
            "crop %d: nodule with probability %.3f (%.1f ms)".format(number, probability, milliseconds)
        }
    }

    private fun floatsOf(name: String): FloatArray {
        val bytes = assets.open(name).use { it.readBytes() }
        val floats = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(floats.remaining()).also { floats.get(it) }
    }

    /** ExecuTorch wants a file with a path; assets have none. */
    private fun fileOf(name: String): File {
        val file = File(filesDir, name)
        assets.open(name).use { from -> file.outputStream().use { from.copyTo(it) } }
        return file
    }

    private companion object {
        const val CROP = 32 * 48 * 48 // float32 HU
    }
}
